"""Option symbols in every usual form of the OCC's: padded or not, any case, with a feed's prefix."""

import polars as pl

from clstm_core.market.tables.cells import DAY_BOUNDS

# SPXW  240405C05000000, SPXW240405C05000000, O:SPXW240405C05000000, .SPXW240405C5000, ^spxw240405c05000000
_PATTERN = r"^(?:O:|OPRA:)?[\s._^$]*([A-Z]{1,6}[0-9]?)[\s_]*([0-9]{6})\s*([CP])\s*([0-9]+(?:\.[0-9]+)?)$"
SATURDAY = 6
_STRIKE_DIGITS = 8  # thousandths of a dollar; fewer digits are dollars


def parse_symbols(text: pl.Series) -> pl.DataFrame:
    """Columns root, expiry (date), right and strike of each symbol; null where it is no option symbol.

    Source: OCC, Options Symbology Initiative, 2010: root padded to six, yymmdd, C or P, strike x 1000 in eight digits
    """
    parts = text.str.to_uppercase().str.strip_chars().str.extract_groups(_PATTERN).struct.unnest()
    root, day, right, digits = (parts[name] for name in parts.columns)
    expiry = day.str.to_date("%y%m%d", strict=False)
    number = digits.cast(pl.Float64, strict=False)
    strike = pl.when(digits.str.len_chars() == _STRIKE_DIGITS).then(number / 1000).otherwise(number)
    low, high = DAY_BOUNDS
    known = expiry.is_between(low, high)
    return pl.select(
        root=pl.when(known).then(root),
        expiry=pl.when(known).then(expiry),
        right=pl.when(known).then(right),
        strike=pl.when(known).then(strike),
    )


def same_expiry(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether two dates name one expiry: equal, or one the Saturday and the other the last session before it.

    Assumes: monthly contracts listed before 2015 carry the Saturday in their symbol and often the Friday in their row
    """
    after = (one - other).dt.total_days()
    saturday = (after.is_between(1, 2) & (one.dt.weekday() == SATURDAY)) | (
        after.is_between(-2, -1) & (other.dt.weekday() == SATURDAY)
    )
    return (after == 0) | saturday


def contract_id() -> pl.Expr:
    """OSI symbol without padding, from root, expiry, right and strike: SPXW260821C07500000."""
    return pl.concat_str(
        pl.col("root"),
        pl.col("expiry").dt.strftime("%y%m%d"),
        pl.col("right"),
        # A strike that is no number has no contract: null here, `missing_price` in quarantine.
        (pl.col("strike") * 1000).round().cast(pl.Int64, strict=False).cast(pl.String).str.zfill(8),
    )
