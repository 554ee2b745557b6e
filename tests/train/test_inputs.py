"""What a run says that it was trained on."""

from clstm_core.config import MarketConfig, WorldsConfig
from clstm_core.evaluation import words
from clstm_core.generalisation import kinds
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.worlds.training import world_of
from clstm_core.train.inputs import SIMULATED, trained_on

MARKET = {"source": "sp500_modelled", "label": "modelled quotes", "sessions": 1050, "reason": "it trains itself."}


def test_dates_are_said_as_their_market_says():
    assert trained_on(WorldsConfig(), **MARKET) == {
        "trained_on": "it trains itself.",
        "trained_label": "modelled quotes",
    }


def test_worlds_are_never_said_to_be_quotes_of_the_market_that_they_are_made_of():
    assert trained_on(WorldsConfig(historical=1.0, bates=3.0), **MARKET) == {
        "trained_on": "worlds (historical 25%, bates 75%) made of the 1,050 training days of sp500_modelled",
        "trained_label": "simulated quotes",
    }


def test_worlds_call_themselves_what_others_call_them():
    settings = MarketConfig(
        source="simulated", n_snapshots=520, train_fraction=0.6, validation_fraction=0.2, near_days=7.0, far_days=14.0
    )
    market = simulated_market(settings, embargo=6 + settings.feature_lookback)
    info = world_of(market, WorldsConfig(historical=1.0), 6).info
    assert info["source"] == words.GENERATED
    assert info["label"] == SIMULATED == kinds.LABEL
