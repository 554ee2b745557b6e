"""Instruments: declared once, found by name, refused where they cannot be."""

import pytest

from clstm_core.errors import ConfigError
from clstm_core.market.instrument import INSTRUMENTS, SPX, SPX_MODELLED, Instrument, instrument, instrument_of


def test_spx_has_the_terms_that_the_exchange_lists():
    assert SPX.roots == {"SPX": "AM", "SPXW": "PM"}
    assert SPX.am_roots == ["SPX"]
    assert (SPX.tick, SPX.calendar) == (0.05, "XNYS")
    assert SPX.terms == {
        "underlying": "SPX",
        "multiplier": 100.0,
        "exercise": "european",
        "settlement": "cash",
        "currency": "USD",
    }
    assert SPX_MODELLED.terms == SPX.terms
    assert all(name == declared.name for name, declared in INSTRUMENTS.items())


def test_declared_instruments_are_found_and_others_refused():
    assert instrument("SPX") is SPX
    assert instrument_of("SPX") is SPX
    assert instrument_of("ABC").roots == {"ABC": "PM"}
    with pytest.raises(ConfigError, match="unknown instrument 'ABC': expected one of SPX, SIM"):
        instrument("ABC")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tick": 0.0}, "tick=0.0 of instrument 'X': expected a positive price step"),
        ({"roots": {"X": "noon"}}, "expected each root with 'AM' or 'PM'"),
        ({"roots": {}}, "expected each root with 'AM' or 'PM'"),
        ({"multiplier": -1.0}, "expected a positive number"),
        ({"settlement": "coin"}, "expected cash or physical"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Instrument(**({"name": "X", "roots": {"X": "PM"}} | changes))
