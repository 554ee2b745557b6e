"""What happens when files arrive and when a run fails."""

import http.server
import json
import sys
import threading
import types

import dagster as dg
import pytest

from clstm_core.recipe import Recipe
from orchestration import sensors
from orchestration.sensors import WEBHOOK, fingerprint, new_vendor_files, run_failures
from orchestration.standing import write_standing

SENTENCE = "chain of one failed: no data folder for spx_cboe: expected the folder that holds its files."


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """A home whose standing recipe reads a vendor's folder."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    folder = tmp_path / "vendor"
    folder.mkdir()
    write_standing(tmp_path / "data", Recipe(name="smoke", source="spx_cboe", data_dir=str(folder)))
    return folder


def look(cursor):
    """One look at the folder: what is asked for, and the cursor afterwards."""
    with dg.DagsterInstance.ephemeral() as instance:
        found = new_vendor_files(dg.build_sensor_context(instance=instance, cursor=cursor))
    if isinstance(found, dg.SkipReason):
        return [], cursor
    return list(found.run_requests or ()), found.cursor


def test_files_are_asked_for_once_and_when_they_rest(vendor):
    asked, cursor = look(None)
    assert not asked
    (vendor / "2026-11-23.csv").write_text("a")
    asked, cursor = look(cursor)
    assert not asked, "it may still be growing"
    (vendor / "2026-11-23.csv").write_text("ab")
    asked, cursor = look(cursor)
    assert not asked, "it was growing"
    asked, cursor = look(cursor)
    (request,) = asked
    assert request.run_key == fingerprint(vendor)
    assert request.run_config["resources"]["recipe"]["config"]["data_dir"] == str(vendor)
    assert look(cursor)[0] == []
    (vendor / "2026-11-24.csv").write_text("c")
    asked, cursor = look(cursor)
    assert not asked
    assert len(look(cursor)[0]) == 1


def test_hidden_files_and_other_sources_start_nothing(vendor, tmp_path):
    (vendor / ".2026.csv.part").write_text("a")
    assert fingerprint(vendor) is None
    write_standing(tmp_path / "data", Recipe(source="simulated"))
    assert look(None) == ([], None)


@pytest.fixture
def webhook(monkeypatch):
    """A server that keeps what is posted to it, and answers what it is told to."""
    got, answers = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(WEBHOOK, f"http://127.0.0.1:{server.server_port}/secret-token")
    yield got, answers
    server.shutdown()
    server.server_close()


def failed():
    """A run that fails with a sentence, and the event of its failure, as the sensor is shown them."""

    @dg.op
    def breaks():
        raise dg.Failure(description="no data folder for spx_cboe: expected the folder that holds its files.")

    @dg.job(tags={"recipe": "smoke", "dagster/partition": "one"})
    def chain():
        breaks()

    with dg.DagsterInstance.ephemeral() as instance:
        result = chain.execute_in_process(instance=instance, raise_on_error=False)
        tell(instance, result)


def tell(instance, result):
    """Show the sensor a run that failed."""
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()
    run_failures(context)


def test_a_failure_is_posted_even_when_the_first_answer_is_an_error(webhook):
    got, answers = webhook
    answers += [503, 500]
    failed()
    assert len(got) == 3
    assert got[-1]["run"] == "one"
    assert got[-1]["text"] == SENTENCE


def test_of_a_blocking_check_its_own_words_are_told(webhook):
    got, _ = webhook

    @dg.asset(check_specs=[dg.AssetCheckSpec("conserves_money", asset="market", blocking=True)])
    def market():
        yield dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name="conserves_money",
                    passed=False,
                    severity=dg.AssetCheckSeverity.ERROR,
                    description="200.00 dollars came from nowhere.",
                )
            ]
        )

    with dg.DagsterInstance.ephemeral() as instance:
        tell(instance, dg.materialize([market], instance=instance, raise_on_error=False))
    assert got[-1]["text"].endswith("failed: check conserves_money of market failed: 200.00 dollars came from nowhere.")


def test_slack_is_told_where_it_is_set_up(monkeypatch):
    said = []

    class Slack:
        def __init__(self, token):
            assert token == "xoxb-secret"

        def get_client(self):
            return self

        def chat_postMessage(self, *, channel, text):
            said.append((channel, text))

    monkeypatch.setitem(sys.modules, "dagster_slack", types.SimpleNamespace(SlackResource=Slack))
    failed()
    assert not said, "neither token nor channel"
    monkeypatch.setenv(sensors.SLACK_TOKEN, "xoxb-secret")
    failed()
    assert not said, "no channel"
    monkeypatch.setenv(sensors.SLACK_CHANNEL, "#desk")
    failed()
    assert said == [
        ("#desk", "chain of one failed: no data folder for spx_cboe: expected the folder that holds its files.")
    ]


def test_a_webhook_that_does_not_answer_is_a_warning_without_its_address(monkeypatch, caplog):
    monkeypatch.setattr(sensors, "ATTEMPTS", 0)
    monkeypatch.setenv(WEBHOOK, "http://127.0.0.1:9/secret-token")
    failed()
    assert "secret-token" not in caplog.text
