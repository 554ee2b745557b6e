"""What a report's names mean follows from the action list and the baselines' own labels."""

from clstm_core.evaluation.glossary import glossary
from clstm_core.specs import ACTIONS


def test_a_package_is_told_by_its_legs():
    said = {row["name"]: row["meaning"] for row in glossary(ACTIONS, {}, None)}
    assert list(said) == list(ACTIONS), "every action has its meaning"
    assert said["near_iron_condor"] == (
        "sells the near call of 0.20 delta and the near put of 0.20 delta and buys the near call of 0.05 delta and the "
        "near put of 0.05 delta"
    )
    assert said["far_covered_call"] == "sells the far call of 0.30 delta and buys the shares that one contract is of"
    assert said["put_calendar"] == "sells the near put at the money and buys the far put of the near one's strike"
    assert said["hold"] == "trades nothing"


def test_size_is_told_where_it_is_known_and_other_names_are_passed_over():
    rows = glossary(["near_long_put", "hold", "gone"], {"cash": "Cash at the risk-free rate"}, 0.02)
    assert rows == [
        {
            "name": "near_long_put",
            "kind": "action",
            "meaning": "buys the near put at the money; whole units that put at most 2% of equity at risk",
        },
        {"name": "hold", "kind": "action", "meaning": "trades nothing"},
        {"name": "cash", "kind": "baseline", "meaning": "Cash at the risk-free rate"},
    ]
