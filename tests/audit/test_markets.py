"""The markets that proofs run on are what they say they are."""

import torch

from clstm_core.audit.proofs.in_time.built import built_in_time, fitted_in_time
from clstm_core.audit.proofs.in_time.differences import same
from clstm_core.audit.worlds.markets import FUTURES, between, stretch, with_altered_future, with_holes, with_info


def _first_row(market, t: int) -> int:
    return int(market.row_offset_T1[t])


def test_a_part_keeps_quotes_contracts_and_the_way_from_row_to_row(fair_market) -> None:
    part = between(fair_market, 40, 80)
    offset = _first_row(fair_market, 40)
    rows = torch.arange(part.n_rows)
    assert torch.equal(part.bid_Q, fair_market.bid_Q[offset : offset + part.n_rows])
    name = part.contract_id_KB[part.row_contract_Q]
    assert torch.equal(name, fair_market.contract_id_KB[fair_market.row_contract_Q[rows + offset]])
    goes_on = part.next_row_Q >= 0
    assert torch.equal(part.next_row_Q[goes_on] + offset, fair_market.next_row_Q[offset:][: part.n_rows][goes_on])
    inner = part.row_snapshot_Q < 39
    assert torch.equal(part.next_row_Q[inner] < 0, fair_market.next_row_Q[offset:][: part.n_rows][inner] < 0)
    settled = part.settle_index_K < part.n_snapshots
    assert settled.any()
    assert part.settle_value_K[settled].isfinite().all()
    assert part.settle_value_K[~settled].isnan().all()
    assert bool(part.segment_end_T[-1])


def test_a_stretch_ends_with_the_train_window(premium_market) -> None:
    start, stop = premium_market.split("train")
    part = stretch(premium_market, 30)
    assert torch.equal(part.snapshot_T, premium_market.snapshot_T[stop - 30 : stop])
    assert stretch(premium_market, 10_000).n_snapshots == stop - start


def test_holes_cannot_be_traded_and_no_cell_points_at_one(fair_market) -> None:
    holed = with_holes(fair_market, seed=3)
    assert holed.stale_Q.float().mean() > 0.02
    assert not (holed.can_buy_Q & holed.stale_Q).any()
    torch.testing.assert_close(holed.mark_Q[holed.stale_Q], fair_market.mark_Q[holed.stale_Q], rtol=1e-6, atol=1e-6)
    pointed = holed.grid_row_TG[holed.grid_row_TG >= 0]
    assert holed.can_sell_Q[pointed].all()
    assert (holed.can_buy_Q & ~holed.can_sell_Q).any()


def test_an_altered_future_begins_after_t(fair_market) -> None:
    for kind in FUTURES:
        other = with_altered_future(fair_market, 50, kind)
        rows = _first_row(fair_market, 51)
        for name, tensor in fair_market.tensors().items():
            if name.endswith("_Q"):
                assert same(tensor[:rows], getattr(other, name)[:rows]), name
            if name.endswith(("_T", "_TF", "_TG")):
                assert same(tensor[:51], getattr(other, name)[:51]), name
        assert not same(fair_market.mark_Q[rows:], other.mark_Q[rows:]) or kind == "gone"
        assert not same(fair_market.ask_Q[rows:], other.ask_Q[rows:])


def test_a_scaler_fitted_on_the_test_window_is_found(premium_market) -> None:
    assert all(finding.ratio <= 1 for finding in fitted_in_time(premium_market))
    start, stop = premium_market.split("train")
    late = with_info(premium_market, scaler={**premium_market.info["scaler"], "fitted_on": [start, stop + 5]})
    assert next(f.check for f in fitted_in_time(late) if f.ratio > 1) == "scaler fitted outside the train window"
    other = {**premium_market.info["scaler"], "mean": premium_market.features_TF.double().mean(dim=0).tolist()}
    assert any(f.ratio > 1 for f in fitted_in_time(with_info(premium_market, scaler=other)))


def test_windows_closer_than_the_embargo_are_found(premium_market) -> None:
    close = with_info(premium_market, embargo=10, splits={"train": [0, 80], "test": [85, 130]})
    assert any(f.ratio > 1 for f in fitted_in_time(close))


def test_a_feature_that_reads_tomorrow_is_found(fair_market, monkeypatch) -> None:
    from clstm_core.market.build import features

    honest = features.session_features

    def peeking(close, time_years, at):
        out = honest(close, time_years, at)
        out["return_1d"] = honest(close, time_years, (at + 1).clip(max=len(close) - 1))["return_1d"]
        return out

    assert all(f.ratio <= 1 for f in built_in_time(fair_market, n_snapshots=60, n_cuts=2))
    monkeypatch.setattr(features, "session_features", peeking)
    findings = built_in_time(fair_market, n_snapshots=60, n_cuts=2)
    assert all(finding.ratio > 1 for finding in findings)
    assert "features_TF" in findings[0].detail


def test_a_grid_that_picks_by_tomorrows_quotes_is_found(fair_market, monkeypatch) -> None:
    from clstm_core.market.build import grid

    honest = grid.build_grid

    def hindsight(chain, expirations):
        return honest(chain._replace(delta=chain.delta[::-1].copy()), expirations)

    monkeypatch.setattr(grid, "build_grid", hindsight)
    assert any(finding.ratio > 1 for finding in built_in_time(fair_market, n_snapshots=60, n_cuts=2))
