"""`clstm data inspect` from a terminal."""

from pathlib import Path

from typer.testing import CliRunner

from orchestration.data_commands import data_app

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "table" / "quotes.csv"


def test_a_usable_table_exits_with_zero_and_says_so_first():
    result = CliRunner().invoke(data_app, ["inspect", str(SAMPLE)])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "Usable: 30 quotes on 3 sessions."


def test_an_unusable_one_exits_with_one_and_a_sentence(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n1,2\n")
    result = CliRunner().invoke(data_app, ["inspect", str(path)])
    assert result.exit_code == 1
    assert result.output.startswith("Not usable: missing column")
    result = CliRunner().invoke(data_app, ["inspect", str(tmp_path / "nowhere"), "--source", "spx_cboe"])
    assert result.exit_code == 1
    assert result.output.startswith("Not usable: no folder")
