"""A simulated market whose regime shifts, and a champion watched in shadow on the first sessions of the new one."""

from functools import partial

import numpy as np

from clstm_core.market.sources import open_source
from clstm_core.market.tensors import load_market
from clstm_core.market.worlds import black_scholes
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.runner import Opening, ShadowRunner
from clstm_core.shadow.sources.replay import Replay
from clstm_core.shadow.summary import ACCOUNT, summarise, training_features
from clstm_core.walk_forward.markets import fold_tensors

SESSIONS, SHIFT, SEEN = 1310, 560, 30
World = black_scholes._World
BEFORE = World(0.0, 0.18, 0.18)


def plant_shift(patch, after):
    """Let the simulated source have another world from session SHIFT on."""
    patch.setattr("clstm_core.market.sources.simulated.simulated_columns", partial(shifted, after=after))


def shifted(config, after):
    """`simulated_columns` with another world from session SHIFT on."""
    history = config.feature_lookback + 1
    dates = black_scholes._weekdays(black_scholes.FIRST_DATE, config.n_snapshots + history)
    closes = black_scholes.close_ns(dates)
    years = np.diff(closes) / black_scholes.YEAR_NS
    late = np.arange(1, len(dates)) >= SHIFT + history
    vol = np.where(late, after.vol, BEFORE.vol)
    shocks = np.random.default_rng(config.seed).standard_normal(len(years))
    growth = (black_scholes.RATE - black_scholes.DIVIDEND_YIELD - 0.5 * vol**2) * years + vol * np.sqrt(years) * shocks
    path = black_scholes.START_LEVEL * np.exp(np.concatenate([[0.0], np.cumsum(growth)]))
    parts = [
        black_scholes._quotes(config, world, dates[history:], closes[history:], path[history:])
        for world in (BEFORE, after)
    ]
    seam = closes[SHIFT + history]
    quotes = {}
    for name in parts[0]:
        kept = [part[name][(part["snapshot"] < seam) != bool(n)] for n, part in enumerate(parts)]
        quotes[name] = np.concatenate(kept)
    opening = np.concatenate([path[:1], path[:-1]])
    nothing = np.zeros(len(dates))
    underlyings = {
        "snapshot": closes,
        "underlying": black_scholes._constant(black_scholes.NAME, len(dates)),
        "open": opening,
        "high": np.maximum(opening, path),
        "low": np.minimum(opening, path),
        "close": path,
        "volume": nothing,
        "dividend": nothing,
        "split": np.ones(len(dates)),
    }
    rates = {
        "date": dates,
        "tenor_days": np.full(len(dates), 30.0),
        "rate": np.full(len(dates), black_scholes.RATE),
        "dividend_yield": np.full(len(dates), black_scholes.DIVIDEND_YIELD),
    }
    return quotes, underlyings, rates


def day(places, settings, index):
    return open_source(settings.market).list_snapshots()[index].isoformat()


def watch(places, settings, first):
    """The champion in shadow on the first sessions of the new regime; what its account says."""
    market = load_market(fold_tensors(settings.market, places, 84))
    with ShadowLog.writing(places.shadow("champion")) as log:
        opening = Opening(bundle=places.bundle("champion"), limits=Limits.none(), unqualified=True)
        ShadowRunner(log, opening, Replay(market, (SHIFT, SHIFT + SEEN))).run()
    log = ShadowLog(places.shadow("champion"))
    return summarise(log, training_features(places, first.parents["tensors"])).write(log.folder / ACCOUNT)
