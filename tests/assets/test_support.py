"""What assets show and set: tags of a launch, tables, escaped text, pictures, figures to compare, threads."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import dagster as dg
import pytest

from assets.backtests import baseline_backtests
from assets.checkpoint_comparison import _answer, _figures
from assets.companions import NONE, twin_backtests
from assets.critic_warmup import warm_critic
from assets.reports import backtest_report
from assets.resources import ReportServer
from assets.support import column_schema, escaped, long_table, numbers, table, tag_run, threads
from assets.training import training_curve

ROOT = Path(__file__).resolve().parents[2]

# what the UI's Markdown makes links of by itself, in text that is already decoded (GitHub's autolink extension)
AUTOLINKS = (r"(?i)(https?://|www(?=\.))([-.\w]+)", r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)")
MARKUP = "|[]`*_~#!\\"


def read(text: str) -> str:
    """What a reader of Markdown sees: no escape, no entity."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))


@pytest.mark.parametrize(
    "evil",
    [
        "https://evil.example/a",
        "HTTP://evil.example",
        "see (https://evil.example), please",
        "https:\\/\\/evil.example",
        "&#104;ttps://evil.example",
        "https&colon;//evil.example",
        "ftp://evil.example",
        "www.evil.example",
        "WwW.evil.example",
        "_www.evil.example_",
        "somebody@evil.example",
        "mailto:somebody@evil.example",
        "<https://evil.example>",
        "[a](https://evil.example)",
        "![a](https://evil.example/a.png)",
        "[a][b]\n\n[b]: https://evil.example",
        "[^1]\r[^1]: https://evil.example",
        '<img src="https://evil.example/a.png">',
        "<script>alert(1)</script>",
        "**a** _b_ ~~c~~ `d` | e",
        "# a",
    ],
)
def test_text_of_a_vendor_becomes_no_link_no_picture_and_no_markup(evil):
    safe = escaped(evil)
    assert not re.search(r"[<>\n\r]", safe)
    assert not re.search(r"(?<!\\)(\\\\)*[" + re.escape(MARKUP.replace("\\", "")) + "]", safe), safe
    for pattern in AUTOLINKS:
        assert not re.search(pattern, read(safe)), safe
    # and it can be read as it was
    assert read(safe).replace("\u200b", "") == re.sub(r"[\n\r]", " ", evil)


def test_a_table_keeps_numbers_as_numbers_and_text_as_text():
    rows = [
        {"name": "[a](https://evil.example)", "value": 0.123456, "count": 3, "passed": True, "left": None},
        {"name": "b", "value": float("nan"), "count": None, "passed": False, "left": None},
    ]
    shown = table(rows, ["name", "value", "count", "passed", "left"])
    assert [record.data for record in shown.records] == [
        {"name": "[a](https://evil.example)", "value": 0.1235, "count": 3, "passed": True, "left": None},
        {"name": "b", "value": "nan", "count": None, "passed": False, "left": None},
    ]
    assert [column.type for column in shown.schema.columns] == ["string", "string", "int", "bool", "string"]
    assert table([], ["name"]).schema.columns[0].name == "name"  # one without rows is a table too


def test_a_long_table_is_folded_away_with_its_text_escaped():
    shown = long_table([{"a": "x|y", "b": 0.123456}, {"a": None, "b": 2}], ["a", "b"])
    assert shown.md_str.splitlines() == ["| a | b |", "|---|---|", "| x\\|y | 0.1235 |", "|  | 2 |"]


def test_numbers_that_would_blank_a_plot_are_left_out():
    found = numbers({"a": 1.23456789, "b": float("nan"), "c": float("inf"), "d": None, "e": True, "f": 7, "g": "8"})
    assert found == {"a": 1.23457, "f": 7}


def test_backtests_say_how_many_rows_they_left_and_of_which_columns(relaunched, finished):
    found = relaunched[baseline_backtests][0].metadata
    assert found["dagster/row_count"].value > 0
    columns = {column.name: column.type for column in found["dagster/column_schema"].schema.columns}
    assert columns["equity.equity_usd"] == "Float64"
    assert {name.partition(".")[0] for name in columns} == {"fills", "equity", "positions", "decisions"}
    (folder, *_) = (finished / "data" / "backtests").glob("[!.]*")
    assert column_schema(fills=folder / "fills.parquet").columns[0].name == "episode"


def test_a_launch_is_tagged_with_what_it_works_on(relaunched):
    """Whichever asset it begins with: the runs page filters by these tags."""
    for asset, (_, launch) in relaunched.items():
        assert (launch.tags["recipe"], launch.tags["source"]) == ("smoke", "simulated"), asset.key
        assert re.fullmatch(r"[0-9a-f]+(-dirty)?|unknown", launch.tags["commit"])
        if asset.partitions_def is not None:
            assert len(launch.tags["data"]) == 16, asset.key
    assert relaunched[warm_critic][1].tags["hardware"]


def test_each_stage_of_the_evaluation_links_its_place_in_the_report(relaunched):
    """Also where there was nothing to do, and the report says why."""
    for asset, (said, _) in relaunched.items():
        if "evaluation" in asset.group_names_by_key.values():
            link = said.metadata["report" if asset is backtest_report else "panel"]
            assert link.value.startswith("http://127.0.0.1:3001/one/index.html"), asset.key
    assert relaunched[twin_backtests][0].metadata["world"].value == NONE


def compared(**champion):
    """As much of a comparison as its figures are made of."""
    judged = [
        {"against": "hold", "estimate": -9.0, "p_value": 0.9, "verdict": "not distinguishable"},
        {"against": "cash", "estimate": 1.5, "ci_low": -2.0, "ci_high": 5.0, "p_value": 0.25, "verdict": "not so"},
    ]
    rows = [
        {"backtest_id": "other", "total_return": 9.9},
        {"backtest_id": "best", "total_return": 0.224, "annual_return": 0.035, "max_drawdown": -0.1, "sharpe": None},
    ]
    sure = SimpleNamespace(record=SimpleNamespace(dsr=0.4), overfit=SimpleNamespace(probability=0.6))
    return SimpleNamespace(champion=champion or None, rows=rows, judged=lambda: judged, statistics=sure)


def test_figures_of_a_comparison_are_one_number_each_and_the_champions():
    found = _figures(compared(backtest_id="best"))
    assert found == {
        "total_return": 0.224,
        "annual_return": 0.035,
        "max_drawdown": -0.1,
        "excess_over_cash_bps": 1.5,
        "excess_over_cash_bps_low": -2.0,
        "excess_over_cash_bps_high": 5.0,
        "deflated_sharpe": 0.4,
        "backtest_overfitting": 0.6,
        "luck_p_value": 0.25,
    }
    said = "+22.4% on the test dates, drawdown 10.0%; not so, luck p 25.0%."
    assert _answer(compared(backtest_id="best", qualified=True)) == said
    assert _answer(compared(backtest_id="best")) == f"No rung qualifies. The last one: {said}"
    assert _answer(compared()) == "No champion: no checkpoint was backtested."


def test_a_picture_is_short_markdown_that_the_ui_shows_without_a_click(tmp_path):
    server = ReportServer(home=str(tmp_path), url="http://reports")
    first = server.picture("one", "training_curve", "<svg>" + "x" * 5000 + "</svg>").md_str
    assert len(first) < 1000  # a longer one is folded away
    assert re.fullmatch(r"!\[training curve\]\(http://reports/one/pictures/training_curve\.svg\?v=[0-9a-f]{8}\)", first)
    kept = tmp_path / "reports" / "generated" / "one" / "pictures" / "training_curve.svg"
    assert kept.read_text().startswith("<svg>")
    # a browser keeps what it has seen under an address
    assert server.picture("one", "training_curve", "<svg/>").md_str != first


def test_reward_and_explained_variance_are_drawn_over_axes_of_their_own():
    rows = [
        {"env_steps": 10_000 * k, "mean_reward": 0.0001 * k, "explained_variance_5": 0.02 * k - 0.5}
        | ({"heldout_explained_variance_5": -0.3} if k % 2 else {})
        for k in range(1, 31)
    ]
    svg = ElementTree.fromstring(training_curve(rows))
    space = "{http://www.w3.org/2000/svg}"
    reward, seen, held = (
        [float(point.split(",")[1]) for point in line.get("points").split()] for line in svg.iter(f"{space}polyline")
    )
    assert max(reward) < min(seen + held)  # one panel above the other
    assert max(reward) - min(reward) > 80  # a small number beside a large one is not flat
    texts = [node.text for node in svg.iter(f"{space}text")]
    assert {"reward per step, scaled", "explained variance of the rewards of 5 sessions", "million env steps"} <= {
        *texts
    }
    assert {"0.05", "0.1", "0.15", "0.2", "0.25", "0.3"} <= {*texts}


def test_training_that_has_not_begun_is_drawn_as_nothing():
    assert "nothing to draw yet" in training_curve([])


@pytest.mark.parametrize(("setting", "wanted"), [("4", 4), ("4,2", 4), (" 3 , 1", 3), ("0", 1), ("", 1), ("many", 1)])
def test_the_first_number_of_an_openmp_setting_counts(setting, wanted):
    assert threads(setting) == wanted


@pytest.mark.parametrize(
    ("setting", "steps", "wanted"),
    [
        (None, ["import torch", "one_thread()"], "1 1"),
        (None, ["one_thread()", "import torch"], "1 1"),
        ("2", ["import torch", "one_thread()"], "2 2"),
        ("2", ["one_thread()", "import torch"], "2 2"),
        ("4,2", ["import torch", "one_thread()"], "4 4,2"),
    ],
)
def test_a_stage_takes_one_thread_unless_the_environment_says_otherwise(setting, steps, wanted):
    """Before torch is loaded and after it, in a process that anyone may have started."""
    shown = "import os; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    code = "; ".join(["from assets.support import one_thread", *steps, shown])
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env |= {} if setting is None else {"OMP_NUM_THREADS": setting}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == wanted, done.stderr


def test_a_tag_is_written_where_it_is_new_and_says_something(instance):
    @dg.asset
    def tagged(context: dg.AssetExecutionContext) -> None:
        tag_run(context, recipe="smoke", source="", data="abc")

    result = dg.materialize([tagged], instance=instance, tags={"data": "abc"})
    tags = instance.get_run_by_id(result.run_id).tags
    assert tags["recipe"] == "smoke"
    assert tags["data"] == "abc"
    assert "source" not in tags
