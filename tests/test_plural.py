"""One of a thing is said as one."""

import pytest
import torch

from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.words import claim
from clstm_core.plural import counted


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions"), (1260, "1,260 sessions")]
)
def test_a_count_has_its_number(n, said):
    assert counted(n, "session") == said


def test_a_plural_of_its_own_is_taken():
    assert [counted(n, "return is", "returns are") for n in (1, 2)] == ["1 return is", "2 returns are"]


@pytest.mark.parametrize(("n", "said"), [(1, "1 snapshot;"), (3, "3 snapshots;")])
def test_a_rule_says_on_how_many_snapshots_it_waited(n, said):
    rule = Rule("rule", "A rule")
    rule.reset(2)
    rule._unlisted, rule._too_small = torch.tensor([0, n]), torch.tensor([n, 0])
    waited, small = rule.notes()
    assert f"listed for the rule on {said} it waited" in waited
    assert f"contract on {said} it could not trade" in small


def test_one_return_is_one():
    pair = {"against": "cash", "ci_low": None, "ci_high": None, "n_dates": 1}
    assert claim(pair).endswith("(1 return)")
