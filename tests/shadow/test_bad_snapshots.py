"""A session that must not be decided on is refused by name, and leaves account and memory as if it had not come."""

import dataclasses

import numpy as np
import pytest

from clstm_core.errors import BundleError, ShadowError
from clstm_core.shadow.arrival import aged, missing_between, out_of_order
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.pair import snapshots_of
from clstm_core.shadow.runner import Opening, ShadowRunner
from clstm_core.shadow.sources.replay import Replay

AT = 12
STRICT = dataclasses.replace(Limits.none(), max_crossed_share=0.0, max_quote_age_s=3600.0)


class Sessions:
    """A source that yields the arrivals it was given, in that order."""

    def __init__(self, source, arrivals):
        self._arrivals = arrivals
        self.name, self.label, self.currency = source.name, source.label, source.currency

    def arrivals(self, after):
        yield from self._arrivals


def spoilt(market, how):
    """The market with one snapshot altered."""
    rows = slice(*market.row_offset_T1[AT : AT + 2].tolist())
    before = slice(*market.row_offset_T1[AT - 1 : AT + 1].tolist())

    def with_(name, where, value):
        column = getattr(market, name).clone()
        column[where] = value
        return dataclasses.replace(market, **{name: column})

    if how == "copied":
        contract = {int(c): at for at, c in enumerate(market.row_contract_Q[before], start=before.start)}
        bid, ask = market.bid_Q.clone(), market.ask_Q.clone()
        for row in range(rows.start, rows.stop):
            if (was := contract.get(int(market.row_contract_Q[row]))) is not None:
                bid[row], ask[row] = bid[was], ask[was]
        return dataclasses.replace(market, bid_Q=bid, ask_Q=ask)
    altered = {
        "nan spot": ("spot_T", AT, float("nan")),
        "infinite spot": ("spot_T", AT, float("inf")),
        "zero spot": ("spot_T", AT, 0.0),
        "nan rate": ("rate_T", AT, float("nan")),
        "nan feature": ("features_TF", (AT, 5), float("nan")),
        "infinite feature": ("features_TF", (AT, 0), float("inf")),
        "nan bid": ("bid_Q", rows.start + 3, float("nan")),
        "infinite ask": ("ask_Q", rows.start + 3, float("inf")),
        "nan mark": ("mark_Q", rows.start, float("nan")),
        "nan vol": ("implied_vol_Q", rows.start, float("nan")),
        "crossed": ("bid_Q", rows.start + 3, 1e6),
        "unquoted": ("stale_Q", rows, True),
    }
    return with_(*altered[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("nan spot", "not finite: spot is nan"),
        ("infinite spot", "not finite: spot is inf"),
        ("zero spot", "expected above 0"),
        ("nan rate", "not finite: rate"),
        ("nan feature", "not finite: feature near_atm_vol"),
        ("infinite feature", "not finite: feature return_1d"),
        ("nan bid", "not finite: bid of 1 of"),
        ("infinite ask", "not finite: ask of 1 of"),
        ("nan mark", "not finite: mark of 1 of"),
        ("nan vol", "not finite: implied_vol of 1 of"),
        ("crossed", "crossed: bid above ask in 1 of"),
        ("unquoted", "stale: no contract is quoted"),
        ("copied", "stale: every contract is quoted as at the session before"),
    ],
)
def test_a_spoilt_snapshot_is_refused_and_poisons_nothing(shadow, market, how, words):
    log = shadow(source=Replay(spoilt(market, how), (0, AT + 4)), limits=STRICT)
    entry = log.entries[AT + 1]
    assert entry["kind"] == "refused"
    assert words in entry["reasons"][0]
    assert entry["action"] is None
    assert entry["equity_usd"] is None
    # an account that never saw that session decides and earns the same afterwards
    replay = Replay(market, (0, AT + 4))
    skipped = [arrival for at, arrival in enumerate(replay.arrivals(None)) if at != AT]
    without = shadow("without", source=Sessions(replay, skipped), limits=STRICT)
    columns = ("snapshot", "action", "equity_usd", "observation_sha256", "value", "switch")
    assert [[row[name] for name in columns] for row in log.decided] == [
        [row[name] for name in columns] for row in without.decided
    ]
    assert len(log.decided) == AT + 3


def test_duplicated_and_reordered_sessions_are_refused(shadow, market):
    replay = Replay(market, (0, 8))
    whole = shadow("whole", source=replay)
    found = list(replay.arrivals(None))
    mixed = [*found[:4], found[3], found[1], *found[4:], found[7]]
    log = shadow(source=Sessions(replay, mixed))
    refused = [row["reasons"][0] for row in log.entries if row["kind"] == "refused"]
    assert [words.split(":")[0] for words in refused] == ["duplicate", "reordered", "duplicate"]
    assert [row["observation_sha256"] for row in log.decided] == [row["observation_sha256"] for row in whole.decided]
    assert log.decided[-1]["equity_usd"] == whole.decided[-1]["equity_usd"]


def test_a_session_of_the_future_is_refused_and_blocks_nothing(shadow, market):
    replay = Replay(market, (0, 8))
    found = list(replay.arrivals(None))
    wild = dataclasses.replace(found[3], snapshot=found[7].snapshot + 10**9 * 86_400 * 365)
    log = shadow(source=Sessions(replay, [*found[:3], wild, *found[3:]]))
    assert log.entries[4]["reasons"][0].startswith("reordered: session 2002-02-")
    assert len(log.decided) == 8


def test_a_session_that_has_not_ended_is_refused_until_it_has(shadow, market):
    """A file of the morning is not the session's: its own quotes are decided on when they come."""
    replay = Replay(market, (0, 5))
    found = list(replay.arrivals(None))
    early = dataclasses.replace(found[3], seen_at=found[3].snapshot - 6 * 3600 * 10**9)
    log = shadow(source=Sessions(replay, [*found[:3], early, *found[3:]]))
    assert "ends at 2001" in log.entries[4]["reasons"][0]
    assert [row["kind"] for row in log.entries[4:]] == ["refused", "decided", "decided"]


def test_a_refused_session_is_looked_at_again_when_it_is_another(shadow, market):
    """And not when it is what it was: then it was logged, and that is enough."""
    replay = Replay(market, (0, 9))
    found = list(replay.arrivals(None))
    torn = dataclasses.replace(found[5], problem="torn: 12 rows", session_sha256="torn")
    log = shadow(source=Sessions(replay, [*found[:5], torn, torn, *found[5:]]))
    assert [row["kind"] for row in log.entries[6:9]] == ["refused", "decided", "decided"]
    assert len(log.decided) == 9
    whole = shadow("whole", source=replay)
    assert [row["logits"] for row in log.decided] == [row["logits"] for row in whole.decided]


def test_a_replay_without_the_session_that_the_account_stands_at_is_refused_by_name(shadow, market):
    shadow(source=Replay(market, (0, 4)))
    log = shadow(source=Replay(snapshots_of(market, [0, 1, 2, 4, 5]), (0, 5)))
    assert log.entries[-1]["kind"] == "refused"
    assert "is not in the market that is replayed" in log.entries[-1]["reasons"][0]


def test_a_ruined_account_ends(shadow, market):
    replay = Replay(market, (0, 8))
    shadow(source=Replay(market, (0, 4)))
    from clstm_core.shadow import runner

    real = runner.book_columns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "book_columns", lambda *parts: real(*parts) | {"terminated": True})
        shadow(source=Replay(market, (0, 5)))
    log = shadow(source=replay)
    assert log.decided[-1]["switch"] == "HALTED"
    assert log.decided[-1]["reasons"] == ["the account is ruined"]
    assert [row["reasons"][0] for row in log.entries[-3:]] == ["the account is ruined: open another"] * 3


def test_what_fails_after_the_policy_decided_leaves_no_trace_in_its_memory(shadow, market):
    from clstm_core.errors import MarketDataError
    from clstm_core.shadow.simulate import Simulator

    replay, real, calls = Replay(market, (0, 9)), Simulator.intended, [0]

    def failing(self, shown, action):
        calls[0] += 1
        if calls[0] == 5:
            raise MarketDataError("planted")
        return real(self, shown, action)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Simulator, "intended", failing)
        log = shadow(source=replay)
    assert log.entries[5]["reasons"] == ["planted"]
    skipped = [arrival for at, arrival in enumerate(replay.arrivals(None)) if at != 4]
    without = shadow("without", source=Sessions(replay, skipped))
    assert [row["logits"] for row in log.decided] == [row["logits"] for row in without.decided]


def test_quotes_that_are_too_old_are_refused(shadow, market):
    replay = Replay(market, (0, 4))
    late = [dataclasses.replace(one, seen_at=one.snapshot + 3_601 * 10**9) for one in replay.arrivals(None)]
    log = shadow(source=Sessions(replay, [*list(replay.arrivals(None))[:2], *late[2:]]), limits=STRICT)
    assert [row["kind"] for row in log.entries[1:]] == ["decided", "decided", "refused", "refused"]
    assert log.entries[-1]["reasons"] == ["stale: quotes are 3,601 s old, at most 3,600 s"]
    assert log.entries[-1]["quote_age_s"] == 3601.0


def test_closed_days_do_not_age_quotes(market):
    """Friday's quotes are used until Monday's are due, as Tuesday's are until Wednesday's."""
    limits, one = Limits(), next(Replay(market).arrivals(None))

    def aged_at(taken, seen):
        taken, seen = (int(np.datetime64(at, "ns").astype("int64")) for at in (taken, seen))
        return aged(dataclasses.replace(one, quoted_at=taken, seen_at=seen), limits, "XNYS")

    assert aged_at("2024-03-08T21:00", "2024-03-10T12:00") == ""
    assert aged_at("2024-03-08T21:00", "2024-03-11T20:00") == ""
    assert "stale: quotes are 97,200 s old without 2 closed days" in aged_at("2024-03-08T21:00", "2024-03-12T00:00")
    assert aged_at("2024-03-28T20:00", "2024-04-01T21:00") == ""  # Good Friday
    assert "stale" in aged_at("2024-03-05T21:00", "2024-03-07T00:00")


def test_a_half_day_has_ended_at_its_own_close(market):
    one = next(Replay(market).arrivals(None))

    def said(taken, seen):
        taken, seen, snapshot = (
            int(np.datetime64(at, "ns").astype("int64")) for at in (taken, seen, "2024-11-29T21:00")
        )
        arrival = dataclasses.replace(one, snapshot=snapshot, quoted_at=taken, seen_at=seen)
        return out_of_order(arrival, None, "XNYS")

    assert said("2024-11-29T18:00", "2024-11-29T18:05") == ""  # 13:05 in New York, the day after Thanksgiving
    assert "ends at 2024-11-29T18:00 UTC, after 2024-11-29T17:55" in said("2024-11-29T17:50", "2024-11-29T17:55")
    assert "quotes of 2024-11-30T18:00 UTC, after" in said("2024-11-30T18:00", "2024-11-29T22:00")


def test_what_a_clock_that_jumped_refused_is_decided_on_when_it_is_set_right(shadow, market):
    replay = Replay(market, (0, 6))
    found = list(replay.arrivals(None))
    late = dataclasses.replace(found[3], seen_at=found[3].snapshot + 10 * 86_400 * 10**9)
    ahead = dataclasses.replace(found[4], quoted_at=found[4].snapshot + 86_400 * 10**9)
    log = shadow(source=Sessions(replay, [*found[:3], late, found[3], ahead, *found[4:]]), limits=STRICT)
    assert [row["kind"] for row in log.entries[4:]] == ["refused", "decided", "refused", "decided", "decided"]
    assert log.entries[4]["reasons"][0].startswith("stale")
    assert log.entries[6]["reasons"][0].startswith("reordered: quotes of")


def test_missing_sessions_are_counted_by_the_calendar_and_reduce(shadow, market):
    replay = Replay(market, (0, 9))
    kept = [one for at, one in enumerate(replay.arrivals(None)) if at not in (3, 4, 5)]
    log = shadow(source=Sessions(replay, kept), limits=dataclasses.replace(Limits.none(), max_missing_sessions=2))
    missing = [row["missing_sessions"] for row in log.decided]
    assert missing == [0, 0, 0, 3, 0, 0]
    assert [row["switch"] for row in log.decided] == [*["ACTIVE"] * 3, *["REDUCING"] * 3]
    assert log.decided[3]["reasons"] == ["3 sessions without a snapshot before this one, at most 2"]


def test_a_weekend_and_a_holiday_are_not_missing():
    def at(day):
        return int(np.datetime64(f"{day}T21:00:00", "ns").astype("int64"))

    assert missing_between(at("2024-03-28"), at("2024-04-01"), "XNYS") == 0  # Good Friday
    assert missing_between(at("2024-03-27"), at("2024-04-01"), "XNYS") == 1
    assert missing_between(None, at("2024-04-01"), "XNYS") == 0


def test_refusals_in_a_row_halt(shadow, market):
    spot = market.spot_T.clone()
    spot[[4, 6, 7, 8]] = float("nan")
    limits = dataclasses.replace(Limits.none(), max_refused=3)
    log = shadow(source=Replay(dataclasses.replace(market, spot_T=spot), (0, 12)), limits=limits)
    assert [row["switch"] for row in log.entries[1:]] == [*["ACTIVE"] * 8, *["HALTED"] * 4]
    assert log.entries[9]["reasons"][-1] == "3 sessions refused in a row"
    assert {row["action_name"] for row in log.decided[-3:]} == {"hold"}


def test_a_source_that_made_no_market_is_refused_with_its_words(shadow, market):
    replay = Replay(market, (0, 4))
    found = list(replay.arrivals(None))
    found[2] = dataclasses.replace(found[2], problem="unreadable file 2001-02-02.json")
    log = shadow(source=Sessions(replay, found))
    assert log.entries[3]["reasons"] == ["unreadable file 2001-02-02.json"]
    assert len(log.decided) == 3


def test_another_bundle_or_source_is_not_this_account(shadow, market):
    shadow(most=2)
    with pytest.raises(ShadowError, match="is of source replay:gold"):
        shadow(source=Replay(market, name="other"))


def test_a_policy_that_is_no_champion_needs_a_word(bundle, market, tmp_path):
    with (
        ShadowLog.writing(tmp_path / "account") as log,
        pytest.raises(BundleError, match=r"no champion.*--unqualified"),
    ):
        ShadowRunner(log, Opening(bundle=bundle, limits=Limits.none()), Replay(market))
    assert ShadowLog(tmp_path / "account").entries == []
