"""Leaks planted in what builds a market: windows, scalers, features and fits are read off its files and made anew."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import MarketConfig, smoke
from clstm_core.evidence_audit.case import MarketFiles
from clstm_core.evidence_audit.fits import fits_on_training_dates
from clstm_core.evidence_audit.observations import observations_rebuilt
from clstm_core.evidence_audit.windows import windows_disjoint
from clstm_core.market.build import assemble
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import default_config
from clstm_core.market.sources.sp500_modelled import SP500Modelled
from clstm_core.market.worlds.sp500 import SP500World
from clstm_core.specs import MARKET_FEATURES

EMBARGO = 42
CONFIG = MarketConfig(source="simulated", n_snapshots=380, train_fraction=0.5, validation_fraction=0.2, seed=3)


@pytest.fixture
def case(tmp_path):
    """Builds a case of a simulated market as the builder makes it now, and of nothing else."""

    def build():
        cache = tmp_path / "data" / "cache"
        folder = ensure_tensors(ensure_quotes(CONFIG, cache), CONFIG, cache, embargo=EMBARGO)
        market = MarketFiles(Places(tmp_path / "data"), TensorsManifest.read(folder / FILE).identity)
        return SimpleNamespace(
            training=market,
            evaluation=market,
            places=Places(tmp_path / "data"),
            config=SimpleNamespace(market=CONFIG, env=smoke().env),
            embargo=EMBARGO,
            rungs={},
            everything=[],
            judged=[],
            comparison={"rows": [], "champion": None},
        )

    return build


def test_an_honest_market_has_nothing_wrong(case) -> None:
    honest = case()
    assert list(windows_disjoint(honest).wrong) == []
    assert list(fits_on_training_dates(honest).wrong) == []
    assert list(observations_rebuilt(honest).wrong) == []
    assert observations_rebuilt(honest).counted > 60


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found, n: found | {"validation": found["test"]}, "validation and test"),
        (lambda found, n: found | {"train": (0, n)}, "train and validation"),
        (lambda found, n: found | {"train": (0, found["validation"][0])}, "lie 0 sessions apart"),
        (lambda found, n: found | {"validation": (found["validation"][0] - 1, found["validation"][1])}, "lie 41"),
    ],
)
def test_windows_that_meet_are_named(case, monkeypatch, change, says) -> None:
    original = assemble.split_windows
    monkeypatch.setattr(assemble, "split_windows", lambda dates, *rest: change(original(dates, *rest), len(dates)))
    assert any(says in words for words in windows_disjoint(case()).wrong)


@pytest.mark.parametrize("statistic", ["mean", "std"])
@pytest.mark.parametrize("until", ["validation", "test"])
def test_a_scaler_fitted_on_later_dates_is_named(case, monkeypatch, statistic, until) -> None:
    original, windows = assemble.fit_scaler, {}

    def splits(*args):
        windows.update(split(*args))
        return windows

    def planted(features, window):
        later = original(features, (0, windows[until][1]))
        return original(features, window) | {statistic: later[statistic]}

    split = assemble.split_windows
    monkeypatch.setattr(assemble, "split_windows", splits)
    monkeypatch.setattr(assemble, "fit_scaler", planted)
    found = fits_on_training_dates(case())
    assert any(f"the scaler's {statistic}" in words for words in found.wrong)


@pytest.mark.parametrize("name", ["return_1d", "realised_vol_21d", "near_atm_vol", "rate", "near_skew"])
def test_features_of_tomorrow_in_the_tensors_are_named(case, monkeypatch, name) -> None:
    original, column = assemble._features, MARKET_FEATURES.index(name)

    def planted(*args):
        features = original(*args)
        features[:-1, column] = features[1:, column].copy()
        return features

    monkeypatch.setattr(assemble, "_features", planted)
    found = observations_rebuilt(case())
    if name == "rate":  # of the simulated world it never changes
        assert not found.wrong
    else:
        assert any(name in words for words in found.wrong)


class Modelled:
    """A few sessions of the modelled market, as the worlds' code makes them now; the test window ends in 2022."""

    def __init__(self, **changes):
        source = SP500Modelled(default_config("sp500_modelled", **changes))
        days = np.array(source.list_snapshots(), dtype="datetime64[D]")
        parts = [days[days <= np.datetime64(until)][-8:] for until in ("2012-12-31", "2016-12-31", "2022-12-31")]
        self._quotes = source.read(np.concatenate(parts).tolist()).quotes
        self.snapshots = self._quotes["snapshot"].unique().sort()
        self.splits = {"train": (0, 8), "validation": (8, 16), "test": (16, 24)}
        features = np.random.default_rng(0).normal(size=(24, len(MARKET_FEATURES))).astype(np.float32)
        self.tensors = {"features_TF": features}
        scaler = assemble.fit_scaler(features, self.splits["train"])
        settings = {"train_until": "2012-12-31", "validation_until": "2016-12-31"} | changes
        self.info = {"source": "sp500_modelled", "settings": settings, "scaler": scaler}
        self.identity = "modelled"

    @property
    def quotes(self) -> pl.LazyFrame:
        return self._quotes.lazy()


def fitted(market):
    return fits_on_training_dates(SimpleNamespace(training=market, evaluation=market, rungs={}, everything=[]))


@pytest.mark.parametrize("changes", [{}, {"premium": False}, {"stress": True}])
def test_a_modelled_world_is_priced_from_its_past(changes) -> None:
    found = fitted(Modelled(**changes))
    assert list(found.wrong) == []
    assert "quotes of 6 sessions modelled again" in found.words


def until_the_end(name):
    """A fit of the world that takes its training window to end where the history does."""
    original = getattr(SP500World, name).func

    def planted(self):
        class Later(SP500World):
            train_stop = len(self.history.date)

        return original(Later(self.history, self.scheduled, self.config))

    return property(planted)


def distance_of_all_dates(original):
    """The distance at the money set by the mean VIX of every date there is."""
    import dataclasses

    def planted(self):
        return dataclasses.replace(original.func(self), atm_distance=0.12 * float(self.history.vix.mean()))

    return property(planted)


@pytest.mark.parametrize("name", ["reversion", "fair"])
def test_a_surface_fitted_on_test_dates_is_named(monkeypatch, name) -> None:
    monkeypatch.setattr(SP500World, name, until_the_end(name))
    found = fitted(Modelled(**({"premium": False} if name == "fair" else {})))
    assert any(words.startswith(f"{name} of sp500_modelled") for words in found.wrong)
    assert any("others when nothing later is known" in words for words in found.wrong)


def test_a_distance_at_the_money_set_on_all_dates_is_named(monkeypatch) -> None:
    monkeypatch.setattr(SP500World, "surface", distance_of_all_dates(SP500World.surface))
    found = fitted(Modelled())
    assert any(words.startswith("surface of sp500_modelled") for words in found.wrong)


def test_quotes_priced_with_tomorrows_path_are_named(monkeypatch) -> None:
    """Levels of the next session's VIX in the quotes that were traded: an honest world prices them otherwise."""
    original = SP500World.state

    def planted(self):
        state = original.func(self)
        level = state.vix.clone()
        level[:-1] = state.vix[1:]
        return state._replace(vix=level)

    with monkeypatch.context() as patch:
        patch.setattr(SP500World, "state", property(planted))
        market = Modelled()
    assert any("others when nothing later is known" in words for words in fitted(market).wrong)
