"""Public-domain series that come with the project: the VIX, the Treasury bill and the dividends of the S&P 500."""

from pathlib import Path

import numpy as np
import polars as pl

from clstm_core.errors import MarketDataError

FOLDER = Path(__file__).parent / "open_series"  # a link to data/samples/open, so that the wheel has it too
VIX, BILL, DIVIDENDS = FILES = ("vix_close.csv", "us_treasury_bill_3m.csv", "sp500_dividend_yield.csv")


def read_table(name: str) -> pl.DataFrame:
    """One of `FILES`, its dates parsed.

    Raises: MarketDataError when it is missing
    """
    file = FOLDER / name
    if not file.is_file():
        raise MarketDataError(
            f"missing series {file}: expected the public-domain files of data/samples/open. Restore them from the "
            "repository."
        )
    return pl.read_csv(file, try_parse_dates=True)


def read_series(name: str, when: str, value: str) -> tuple[np.ndarray, np.ndarray]:
    """Dates (datetime64[D]) and values (float64) of two columns of `name`, rows without either left out."""
    table = read_table(name).drop_nulls([when, value])
    return table[when].to_numpy().astype("datetime64[D]"), table[value].to_numpy().astype(np.float64)
