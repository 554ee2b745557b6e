"""Sources are the files of their folder: one new file is a new source, and nothing else lists it."""

import subprocess
import sys
from datetime import date

import pytest

from clstm_core.artifacts.code import closure
from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError
from clstm_core.market import sources
from clstm_core.market.instrument import instrument
from clstm_core.market.source import Declared, Source, SourceSpec
from clstm_core.market.sources import default_config, open_source, source_names, spec

VENDOR = """
from clstm_core.market.source import Declared, SourceSpec
from clstm_core.market.sources.simulated import Simulated

SPEC = SourceSpec(
    name="acme", description="Acme's files", label="real quotes", spread="quoted", needs_folder=True, near_days=7.0,
    far_days=14.0,
)


class Helper:
    pass


class Acme(Declared):
    spec = SPEC

    def __init__(self, config):
        self.folder = config.data_dir

    def list_snapshots(self):
        return []
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that belongs to the package `sources` for the length of a test."""
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(f"{sources.__name__}."):
            del sys.modules[name]
            if hasattr(sources, name.rpartition(".")[2]):
                delattr(sources, name.rpartition(".")[2])


def test_a_vendor_is_one_file(folder):
    (folder / "acme.py").write_text(VENDOR)
    assert "acme" in source_names()
    assert spec("acme").description == "Acme's files"
    config = default_config("acme", data_dir="quotes")
    assert (config.near_days, config.far_days) == (7.0, 14.0)
    assert default_config("acme", near_days=3.0).near_days == 3.0
    source = open_source(config)
    assert (source.name, source.label, source.spread) == ("acme", "real quotes", "quoted")
    assert source.folder == "quotes"
    with pytest.raises(ConfigError, match=r"no data folder for acme: .* Pass it as DATA="):
        open_source(default_config("acme"))


def test_data_may_say_which_tenors_they_fill(folder):
    (folder / "acme.py").write_text(VENDOR + "\n\ndef tenor_targets(data_dir):\n    return DATA.get(data_dir)\n"
                                    "\n\nDATA = {'weeklies': (2.0, 4.0)}\n")  # fmt: skip
    assert default_config("acme", data_dir="weeklies").near_days == 2.0
    assert default_config("acme", data_dir="weeklies", near_days=3.0).near_days == 3.0
    assert default_config("acme", data_dir="others").near_days == 7.0
    assert default_config("acme").near_days == 7.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        VENDOR.replace('name="acme"', 'name="other"'),
        VENDOR.replace("    spec = SPEC\n", ""),
        VENDOR + "\n\nclass Second(Declared):\n    spec = SPEC\n",
    ],
)
def test_a_file_that_declares_no_source_says_what_it_lacks(folder, text):
    (folder / "acme.py").write_text(text)
    with pytest.raises(ConfigError, match=r"incomplete market source 'acme': .* Add them to acme\.py"):
        spec("acme")


@pytest.mark.parametrize("call", [spec, default_config, lambda name: open_source(MarketConfig(source=name))])
@pytest.mark.parametrize("name", ["nope", "SPX_CBOE", "../spx_cboe", "_private", "sources.simulated"])
def test_an_unknown_source_is_refused_by_every_door(call, name):
    with pytest.raises(ConfigError, match=r"unknown market source .*: expected one of .*sp500_modelled.* as SOURCE\."):
        call(name)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_configuration_without_a_source_is_refused(name):
    with pytest.raises(ConfigError, match=r"expected the name of a market source, e\.g\. sp500_modelled"):
        MarketConfig(source=name)


@pytest.mark.parametrize("name", source_names())
def test_every_source_declares_itself(name):
    declared = spec(name)
    assert declared.name == name
    assert declared.description
    assert instrument(declared.instrument).tick > 0
    assert default_config(name).source == name


def test_names_are_known_without_opening_a_file():
    code = (
        "import sys; from clstm_core.market.sources import source_names as n; print(*n()); "
        "print(*{'polars', 'torch', 'pandas', 'numpy'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0].split() == list(source_names())
    assert out[1] == ""


@pytest.mark.parametrize("name", source_names())
def test_a_source_is_kept_under_a_hash_of_what_it_reads_with_and_no_more(name):
    """Neither the builder of tensors nor another vendor's file is part of it."""
    modules = closure(f"{sources.__name__}.{name}")
    assert "clstm_core.market.calendars" in modules or name == "simulated"
    assert not {module for module in modules if module.startswith("clstm_core.market.build.")}
    others = {f"{sources.__name__}.{other}" for other in source_names()} - {f"{sources.__name__}.{name}"}
    assert not modules & others


def test_worlds_and_calendars_load_without_what_they_do_not_need():
    code = (
        "import sys; import clstm_core.market.worlds.sp500, clstm_core.market.build.simulated; "
        "print(*{'polars', 'pandas', 'arch', 'exchange_calendars'} & set(sys.modules)); "
        "import clstm_core.market.tables.canonical; print(*{'pandas', 'exchange_calendars'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n\n"


@pytest.mark.parametrize("changes", [{"label": "fake quotes"}, {"label": "quotes, real quotes"}, {"spread": "wide"}])
def test_a_label_of_nobodys_is_refused(changes):
    with pytest.raises(ConfigError, match="Correct its SPEC"):
        SourceSpec(**({"name": "x", "description": "x", "label": "real quotes", "spread": "quoted"} | changes))


def test_a_declared_source_is_a_source():
    class Own(Declared):
        spec = SourceSpec(name="own", description="x", label="real quotes", spread="modelled")

        def list_snapshots(self) -> list[date]:
            return []

        def read(self, snapshots):
            raise NotImplementedError

    source: Source = Own()
    assert (source.name, source.label, source.spread) == ("own", "real quotes", "modelled")
