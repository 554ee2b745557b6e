"""All conventions on the window that is judged, walked in as few passes as there are settings and grids."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from clstm_core.config import EnvConfig
from clstm_core.evaluation.backtest import Traded, trade
from clstm_core.evaluation.conventions.costs import ENDS, MULTIPLES
from clstm_core.evaluation.conventions.delays import LAGS, Delayed, Handed, Noted
from clstm_core.evaluation.conventions.rows import Rows, break_even_rows, cost_rows, delay_row, sin_rows
from clstm_core.evaluation.conventions.sins import SINS, Sinner
from clstm_core.evaluation.policies import Policy
from clstm_core.evaluation.protocol import CONVENTION, Backtest
from clstm_core.evaluation.walk import Progress
from clstm_core.market.tensors import MarketTensors

TABLES = ("equity", "fills", "positions", "decisions")


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What the conventions bought.

    sins, delays, costs, break_evens: rows of `rows.py`; of the sins the clean walk comes first
    accounts: in memory, of the judged policy, whose books can be recomputed
    apart:    the tables in which the clean walk differs from the backtest that is judged; empty where it is that to the
              bit
    """

    sins: Rows
    delays: Rows
    costs: Rows
    break_evens: Rows
    accounts: list[Traded]
    apart: list[str]


class _Pass(NamedTuple):
    """Accounts that share an environment: its settings, whose grid it trades, and whether the clean walk is over."""

    config: EnvConfig
    listed: str = ""
    after: bool = False


def sweep_conventions(
    judged: Backtest,
    members: Sequence[Backtest],
    rungs: Mapping[str, Callable[[], Policy]],
    rules: Callable[[], Sequence[Policy]],
    market: MarketTensors,
    env_config: EnvConfig,
    *,
    seed: int = 0,
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Swept:
    """Walk every sin, delay and spread of the judged backtest's window, and pair each with the clean walk.

    Args:
        judged: the backtest that the verdict is about; members: the headline's, clean ones of the rungs and rules too
        rungs: what makes each checkpoint's policy anew, by its name; rules: what makes the baselines anew
        env_config: as the headline was traded; seed, meta: as `run_backtests` took them there
    """
    window, start, stop = (judged.manifest["window"][name] for name in ("name", "start", "stop"))
    clean_pass, clean = _Pass(env_config), Noted(rungs[judged.name]())
    passes: dict[_Pass, list[Policy]] = {clean_pass: [clean]}
    markets, sins, delays = {"": market}, {}, []
    for sin in SINS:
        place = _Pass(sin.config(env_config), sin.name if sin.listed else "")
        if place == clean_pass and not sin.seen:
            continue  # that is how this run is judged
        policy = rungs[judged.name]()
        if sin.listed:
            markets[sin.name] = sin.listed(market, (start, stop), env_config)
        seen = sin.seen(market, (start, stop), policy) if sin.seen else None
        sins[sin.name] = (sin, place, Sinner(policy, f"{CONVENTION}_{sin.name}", seen))
        passes.setdefault(place, []).append(sins[sin.name][2])
    for handed in map(Handed, LAGS):
        # in the clean pass an order of tomorrow is not noted yet
        after = handed.moved < 0 and handed.env_lag == env_config.fill_lag
        place = _Pass(replace(env_config, fill_lag=handed.env_lag), after=after)
        delays.append((handed.lag, place, Delayed(clean, handed, market)))
        passes.setdefault(place, []).append(delays[-1][2])
    paying = {multiple: _Pass(_paying(env_config, multiple)) for multiple in MULTIPLES}
    for multiple, place in paying.items():
        if place != clean_pass:
            mine = rungs if multiple in ENDS else {judged.name: rungs[judged.name]}
            passes.setdefault(place, []).extend([*(make() for make in mine.values()), *rules()])

    facts = {place: {**(meta or {}), CONVENTION: _said(place, env_config)} for place in passes}
    found = _walked(passes, markets, window, seed, facts, progress)
    walk = found[clean_pass][clean.name]
    of_sins = [(sin, found[place][policy.name]) for sin, place, policy in sins.values()]
    of_delays = [(lag, policy.missed, found[place][policy.name]) for lag, place, policy in delays]
    wanted = [*rungs, *(rule.name for rule in rules())]
    by_multiple = {
        multiple: [
            account for account in (members if place == clean_pass else found[place].values()) if account.name in wanted
        ]
        for multiple, place in paying.items()
    }
    costs = cost_rows(by_multiple, wanted)
    return Swept(
        sins=sin_rows(judged, of_sins, seed=seed),
        delays=[delay_row(judged, lag, missed, account, seed=seed) for lag, missed, account in of_delays],
        costs=costs,
        break_evens=break_even_rows(costs),
        accounts=[walk, *(account for _, account in of_sins), *(account for *_, account in of_delays)],
        apart=[name for name in TABLES if not judged.table(name).equals(walk.table(name))],
    )


def _walked(
    passes: Mapping[_Pass, Sequence[Policy]],
    markets: Mapping[str, MarketTensors],
    window: str,
    seed: int,
    facts: Mapping[_Pass, Mapping[str, Any]],
    progress: Progress | None,
) -> dict[_Pass, dict[str, Traded]]:
    """The accounts of each pass by name, one pass after the other."""
    found = {}
    for number, (place, policies) in enumerate(passes.items()):

        def report(done: int, steps: int, number: int = number) -> None:
            if progress is not None:
                progress(number * steps + done, len(passes) * steps)

        market = markets[place.listed]
        traded = trade(policies, market, place.config, window, seed=seed, meta=facts[place], progress=report)
        found[place] = {account.name: account for account in traded}
    return found


def _paying(config: EnvConfig, multiple: float) -> EnvConfig:
    """The same account at another multiple of the half-spread."""
    rule = "touch" if multiple == 1.0 else "fraction"
    return replace(config, fill_rule=rule, fill_fraction=multiple)


def _said(place: _Pass, config: EnvConfig) -> str:
    """What is switched in a pass, for the manifests of its accounts."""
    clean = asdict(config)
    switched = [f"{name}={value}" for name, value in asdict(place.config).items() if value != clean[name]]
    return ", ".join([*switched, *filter(None, [place.listed])]) or "walked beside conventions"
