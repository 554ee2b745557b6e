"""The latency table: every runtime decides, the exact ones as eager PyTorch does, and each size has its rows."""

import pytest

from tools.bench.latency import measure, table


@pytest.mark.parametrize("accounts", [1, 3])
def test_every_runtime_is_timed_and_the_exact_ones_decide_alike(accounts):
    rows = measure(16, accounts, repeats=20, rounds=1, walked=40)
    assert len(rows) == 9
    assert all(0 < row.p50 <= row.p99 for row in rows)
    assert all(row.differing == 0 for row in rows if "int8" not in row.runtime)
    assert table(rows).count("\n") == len(rows) + 1
