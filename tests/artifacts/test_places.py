"""One rule of a run's name, for every door; and nothing is ever written outside the data folder."""

import re
from pathlib import Path

import pytest

from clstm_core.artifacts.places import DIGITS, NAME_BYTES, Places, run_name
from clstm_core.errors import ConfigError

BAD = [
    "",
    " ",
    ".",
    "..",
    "../evil",
    "/etc",
    "a/b",
    "a\\b",
    "a b",
    " a",
    "a\n",
    "a\x00b",
    ".hidden",
    "a..b",
    "a...b",
    "-rf",
    "--help",
    "ünï",
    "run\u0301",
    "運行",
    "١٢",  # digits, but not ours
    "a:b",
    "a%2fb",
    "a?b",
    "a*",
    "$HOME",
    "a|b",
    "\udcff",  # a byte that is no UTF-8, as a terminal hands it over
    "x" * (NAME_BYTES + 1),
]
GOOD = ["a", "0", "_", "demo-sp500_modelled", "v1.2", "A.b-C_d", "2026-11-25", "a.", "a-", "x" * NAME_BYTES]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_name_that_cannot_be_a_run_is_refused_in_a_sentence_at_every_door(name, tmp_path):
    places = Places(tmp_path)
    for door in (run_name, places.run, places.bundle):
        with pytest.raises(
            ConfigError, match=r"expected A-Z, a-z, 0-9.*at most 100 bytes\. Pass another RUN\."
        ) as told:
            door(name)
        assert repr(name) in str(told.value)


@pytest.mark.parametrize("name", GOOD, ids=lambda name: name[:20])
def test_a_good_name_is_a_folder_right_below_its_room(name, tmp_path):
    places = Places(tmp_path)
    assert run_name(name) == name
    assert places.run(name).name == name
    assert places.run(name).path.resolve().parent == places.runs
    assert places.bundle(name).resolve().parent == places.bundles


def test_every_place_of_a_run_lies_in_its_folder_and_no_two_are_one(tmp_path):
    run = Places(tmp_path).run("demo")
    found = [run.inputs, run.status, run.comparison, run.evidence, run.report]
    found += [run.checkpoint("latest"), run.backtests("policy_backtests"), run.gates("policy_backtests")]
    assert len(set(found)) == len(found)
    assert all(path.is_relative_to(run.path) for path in found)


def test_folders_by_content_are_named_by_the_first_digits_of_an_identity(tmp_path):
    places = Places(tmp_path)
    identity = "0123456789abcdef" * 4
    for folder in (places.quotes(identity), places.tensors(identity)):
        assert folder.name == identity[:DIGITS]
        assert folder.is_relative_to(places.cache)
    assert places.quotes(identity) != places.tensors(identity)


def test_paths_in_manifests_are_relative_wherever_the_data_folder_lies(tmp_path, monkeypatch):
    places = Places(tmp_path / "data")
    assert places.relative(tmp_path / "data" / "cache" / "quotes" / "x") == "cache/quotes/x"
    assert places.relative(tmp_path / "reports" / "a b" / "index.html") == "../reports/a b/index.html"
    monkeypatch.chdir(tmp_path)
    assert Places(Path("data")).relative(Path("data/cache/x")) == "cache/x"
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert Places(tmp_path / "link").relative(tmp_path / "data" / "x") == "x"
    assert not re.match(r"^/", places.relative(Path("/")))
