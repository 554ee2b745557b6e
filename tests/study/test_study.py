"""A study's rows: of what they are, when one is trained again, and the errors of their means."""

import json
from types import SimpleNamespace

import pytest
import torch

from clstm_core.artifacts.folder import read_jsonl
from clstm_core.config import CAPS, NO_CAP
from clstm_core.evaluation.static_rules import Rule, RuleEarned
from tools.study import __main__ as study
from tools.study.cells import STUDIES, configuration
from tools.study.table import HEAD, _share, edges, table, tables

RULE = RuleEarned(rule=Rule("near_strangle", False, "never"), episodes=8, growth=0.4, error=0.1, deviation=2.0)
FOUND = {
    **{"idle": 0.03, "growth_bps": 0.6, "error_bps": 0.1, "deviation_bps": 4.0, "per_risk": 0.15, "actions": {}},
    **{key: {"rule": "near strangle", "growth_bps": 0.4, "per_risk": 0.3} for key in ("rule_per_risk", "rule_growth")},
}
MARKET, OTHER = "a" * 64, "b" * 64


def row(cell="default", seed=0, growth=1.0, *, market=MARKET, code="c" * 64, home="training_worlds", **facts):
    figures = [
        {
            **{"milestone": "100", "mode": "argmax", "kind": kind, "growth_bps": growth, "error_bps": 1.2},
            **{"gap_bps": growth, "gap_error_bps": 1.2, "per_risk": 0.02},
        }
        for kind in (home, "fresh_worlds", "validation_dates")
    ]
    return {
        **{"cell": cell, "seed": seed, "steps": 1000, "episodes": 8, "market": market, "code": code, "config": "d"},
        **{"kl": 0.002, "clip_fraction": 0.1, "entropy_pct": 20.0, "figures": figures},
        **facts,
    }


def column(text, name):
    """The cells of a column, line by line."""
    head, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [line[head.index(name)] for line in lines]


def test_dates_that_all_seeds_share_keep_their_own_error():
    """Five seeds one after another 0.05 apart: a spread of 0.079, or 0.035 for the mean; 1.2 beside it stays."""
    found = table([row(seed=seed, growth=1.0 + 0.05 * seed) for seed in range(5)])
    assert column(found, "validation dates") == ["+1.10 ± 1.20"]
    assert column(found, "training worlds") == column(found, "fresh worlds") == ["+1.10 ± 0.04"]
    assert column(found, "gap to fresh") == ["+1.10 ± 0.04"]


def test_a_gap_to_dates_has_the_error_of_the_dates():
    found = table([row(seed=seed, growth=1.0 + 0.05 * seed, home="training_dates") for seed in range(5)])
    assert column(found, "gap to fresh") == column(found, "training dates") == ["+1.10 ± 1.20"]


def test_one_seed_has_its_own_error():
    assert column(table([row()]), "fresh worlds") == ["+1.00 ± 1.20"]


def test_markets_and_code_are_never_averaged_and_a_later_row_stands():
    rows = [row(growth=1.0), row(growth=3.0, config="e"), row(growth=5.0, market=OTHER), row(growth=7.0, code="f" * 64)]
    found = tables(rows)
    assert found.startswith(HEAD)
    assert [part.count("\n") for part in found.split("\n\n")[2::2]] == [2, 2, 2]
    assert [column(part, "fresh worlds") for part in found.split("\n\n")[2::2]] == [
        ["+3.00 ± 1.20"],
        ["+5.00 ± 1.20"],
        ["+7.00 ± 1.20"],
    ]


@pytest.fixture
def go(monkeypatch, tmp_path):
    """Runs the command where training is a row's worth of figures, on a market of this identity; the cells trained."""
    monkeypatch.setattr(study, "RESULTS", tmp_path)

    def run(market=MARKET, *flags, code="c" * 64):
        trained = []
        monkeypatch.setattr(study, "load_market", lambda folder: SimpleNamespace(identity=market))
        monkeypatch.setattr(study, "market_key", lambda of: of.identity)
        monkeypatch.setattr(study, "code_sha256", lambda *modules: code)

        def trains(config, *_):
            trained.append(config)
            return {name: row()[name] for name in ("kl", "clip_fraction", "entropy_pct", "figures")}

        monkeypatch.setattr(study, "_trained", trains)
        assert study.main(["years", "--market", "x", "--cells", "unlimited", "--steps", "1000", *flags]) == 0
        return trained

    return run


def test_a_row_is_of_its_market_episodes_and_code(go, tmp_path):
    assert len(go()) == 1
    assert go() == []
    assert len(go(OTHER)) == len(go(MARKET, "--episodes", "8")) == len(go(code="f" * 64)) == 1
    assert go() == go(OTHER) == []
    assert len(read_jsonl(tmp_path / "years.jsonl")) == 4


def test_a_market_is_what_it_is_made_of_and_not_the_last_bits_of_a_processor():
    def made(closes, **facts):
        info = {"source": "s", "splits": {"train": [0, 2]}, "settings": {}, "quotes_sha256": "of this machine"}
        return SimpleNamespace(spot_T=torch.tensor(closes, dtype=torch.float64), info=info | facts)

    first = study.market_key(made([100.0, 101.25]))
    assert first == study.market_key(made([100.0 + 1e-12, 101.25], quotes_sha256="of another"))
    others = [made([100.0, 101.26]), made([100.0, 101.25], splits={"train": [0, 1]}), made([101.25, 100.0])]
    others.append(made([100.0, 101.25], settings={"premium": False}))
    assert len({first, *map(study.market_key, others)}) == 5


def test_of_a_rule_that_loses_there_is_no_share():
    assert _share(0.6, 0.4) == "150%"
    assert _share(-0.1, 0.4) == "-25%"
    assert _share(0.1, -0.2) == "the rule loses"
    assert _share(-0.3, -0.2) == "less than the rule, which loses"


def test_seeds_have_worlds_of_their_own(go):
    assert [(config.seed, config.worlds.seed) for config in go(MARKET, "--seeds", "3")] == [(0, 0), (1, 1), (2, 2)]


def test_a_torn_line_swallows_no_row(go, tmp_path):
    place = tmp_path / "years.jsonl"
    place.write_text(json.dumps(row()) + '\n{"cell": "unli')
    go()
    assert [found["cell"] for found in read_jsonl(place)] == ["default", "unlimited"]
    assert go() == []


def test_without_a_market_there_is_a_sentence(capsys, tmp_path):
    assert study.main(["years"]) == 2
    assert "no --market: expected a folder of market tensors" in capsys.readouterr().err
    assert study.main(["years", "--market", str(tmp_path / "none")]) == 2
    assert "no market tensors at" in capsys.readouterr().err
    assert study.main(["years", "--market", str(tmp_path), "--cells", "default"]) == 2
    assert "no cell default in years: expected of dates, years-10" in capsys.readouterr().err


def test_no_budget_is_none_at_all():
    env = configuration("ablation", "no-budget", steps=1000, seed=0).env
    assert {getattr(env, name) for name in CAPS} == {NO_CAP}


def test_every_cell_is_a_configuration():
    for name, cells in STUDIES.items():
        assert all(configuration(name, cell, steps=1000, seed=1).recipe == f"{name}-{cell}" for cell in cells)


def test_a_world_with_a_known_edge_is_a_row_beside_its_best_rules(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    monkeypatch.setattr(study, "found_in", lambda name, config, episodes: FOUND)
    arguments = ["known", "--steps", "1000", "--cells", "overpaid"]
    assert study.main(arguments) == study.main(arguments) == 0
    (row,) = read_jsonl(tmp_path / "known.jsonl")
    assert (row["cell"], row["market"]) == ("overpaid", "")
    told = edges([row])
    assert column(told, "nothing held") == ["3.0%"]
    assert column(told, "best rule per risk") == ["near strangle, 0.300"]
    assert column(told, "share") == ["50%"]
