"""Cells of text as numbers, dates, instants and rights: what can mean one thing only is read, anything else is null."""

from collections.abc import Collection, Mapping
from datetime import date

import polars as pl

DAY_BOUNDS = (date(1970, 1, 1), date(2199, 12, 31))
"""Dates that a listed option can carry; beyond, nanoseconds end and nothing was listed."""

BOUNDS: dict[str, tuple[float, float]] = {
    # By our names; wide enough for any listed option and either unit of a volatility. Beyond, a cell is no such thing.
    **dict.fromkeys(("strike", "bid", "ask"), (-1e7, 1e7)),
    **dict.fromkeys(("last", "spot"), (0.0, 1e7)),
    **dict.fromkeys(("volume", "open_interest", "bid_size", "ask_size"), (0.0, 1e13)),
    "implied_vol": (0.0, 1e4),
    "delta": (-100.0, 100.0),
    "multiplier": (0.0, 1e6),
}

CELL_LENGTH = 40  # characters of an odd cell that are kept

_THOUSANDS = r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$"
_PERCENT = r"^[-+]?\d+(\.\d*)?\s*%$"
_MONTH_NAMES = ("%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%d-%b-%y")
_RIGHTS = {"C": "C", "CALL": "C", "CALLS": "C", "P": "P", "PUT": "P", "PUTS": "P"}


def numbers(
    frame: pl.DataFrame, columns: Mapping[str, str], *, fractions: Collection[str] = (), decimal_comma: bool = False
) -> pl.DataFrame:
    """The frame with text columns read as numbers under our names, and `odd`: the cells that are no plain number.

        "1,234" -> 1234    "$5.10" -> 5.1    "14.00%" -> 0.14 in `fractions`, null elsewhere    "--" -> null

    A number outside BOUNDS is as odd, and null.

    Args:    columns {name in the frame: our name}; one that the frame lacks becomes a column of nulls
    Returns: `odd` holds `name=cell` for each odd cell of the row, one per line; null without any
    """
    values: list[pl.Series] = []
    odd: list[pl.Series] = []
    for name, ours in columns.items():
        if name not in frame.columns:
            values.append(pl.Series(ours, [None] * frame.height, dtype=pl.Float64))
            continue
        text = frame[name]
        written = text.str.replace(",", ".", literal=True) if decimal_comma else text
        number = written.cast(pl.Float64, strict=False)
        bad = (text.is_not_null() & ~number.is_finite().fill_null(False)).arg_true()
        if len(bad):
            mended = _mended(text.gather(bad), name in fractions)
            number = number.scatter(bad, mended.to_list())
        low, high = BOUNDS.get(ours, BOUNDS.get(name, (float("-inf"), float("inf"))))
        if len(beyond := (~number.is_between(low, high)).fill_null(False).arg_true()):
            number = number.scatter(beyond, None)
            bad = pl.concat([bad, beyond]).unique().sort()
        if len(bad):
            cells = pl.Series(ours, [None] * frame.height, dtype=pl.String)
            seen = text.gather(bad).str.slice(0, CELL_LENGTH).str.replace_all(r"\s", " ")
            odd.append(cells.scatter(bad, (name + "=" + seen).to_list()))
        values.append(number.alias(ours))
    if odd:
        seen = pl.DataFrame(odd).select(pl.concat_str(pl.all(), separator="\n", ignore_nulls=True)).to_series()
        seen = pl.select(pl.when(seen != "").then(seen)).to_series()
    else:
        seen = pl.Series([None] * frame.height, dtype=pl.String)
    return frame.with_columns(*values, seen.alias("odd"))


def _mended(text: pl.Series, fraction: bool) -> pl.Series:
    """Numbers of cells that did not parse as they stand, null where they are none."""
    bare = text.str.strip_prefix("$").str.strip_chars()
    plain = pl.when(bare.str.contains(_THOUSANDS)).then(bare.str.replace_all(",", "")).otherwise(bare)
    value = plain.cast(pl.Float64, strict=False)
    if fraction:
        percent = bare.str.strip_suffix("%").str.strip_chars()
        value = pl.when(bare.str.contains(_PERCENT)).then(percent.cast(pl.Float64, strict=False) / 100).otherwise(value)
    return pl.select(pl.when(value.is_finite()).then(value)).to_series()


def dates(text: pl.Series) -> pl.Series:
    """Dates of ISO dates and timestamps, YYYYMMDD, YYYY/MM/DD, month names; null for anything else or out of bounds.

    4/5/2024 is read only where the column's other cells tell whether the month comes first.
    """
    iso = text.str.extract(r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$")
    out = iso.str.to_date("%Y-%m-%d", strict=False)
    if (left := (out.is_null() & text.is_not_null()).arg_true()).len():
        rest = text.gather(left)
        compact = rest.str.extract(r"^(\d{8})(?:\.0)?$").str.to_date("%Y%m%d", strict=False)
        slashed = rest.str.extract(r"^(\d{4}/\d{1,2}/\d{1,2})(?:[T ].*)?$").str.to_date("%Y/%m/%d", strict=False)
        named = [rest.str.to_date(form, strict=False) for form in _MONTH_NAMES]
        frame = pl.DataFrame([s.alias(str(n)) for n, s in enumerate([compact, slashed, _day_or_month(rest), *named])])
        out = out.scatter(left, frame.select(pl.coalesce(pl.all())).to_series().to_list())
    low, high = DAY_BOUNDS
    return pl.select(pl.when(out.is_between(low, high)).then(out)).to_series().alias(text.name)


def _day_or_month(text: pl.Series) -> pl.Series:
    day = text.str.extract(r"^(\d{1,2}/\d{1,2}/\d{4})(?:[T ].*)?$")
    month_first, day_first = (day.str.to_date(form, strict=False) for form in ("%m/%d/%Y", "%d/%m/%Y"))
    cells = day.drop_nulls().len()
    fits = [cells - series.null_count() + day.null_count() == cells for series in (month_first, day_first)]
    if fits == [True, False]:
        return month_first
    if fits == [False, True]:
        return day_first
    return month_first.clear(len(text))


def instants(text: pl.Series) -> pl.Series:
    """UTC instants of ISO timestamps; one with a zone is converted, one without is UTC. Null where there is none.

    Units:  nanoseconds; fractions of a second are dropped
    """
    parts = text.str.extract_groups(
        r"^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,]\d+)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})?$"
    ).struct.unnest()
    day, clock, zone = (parts[name] for name in parts.columns)
    local = (day + " " + clock).str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    minutes = zone.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + zone.str.slice(-2).cast(pl.Int64, strict=False)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    offset = pl.select(pl.when(zone.str.contains(r"^[+-]")).then(minutes * sign).otherwise(0).fill_null(0)).to_series()
    low, high = DAY_BOUNDS
    known = local.dt.date().is_between(low, high)
    utc = pl.select(
        pl.when(known)
        .then(local - pl.duration(minutes=pl.lit(offset)))
        .cast(pl.Datetime("ns"))
        .dt.replace_time_zone("UTC")
    )
    return utc.to_series().alias(text.name)


def rights(text: pl.Series) -> pl.Series:
    """C or P of C, P, call, put in any case; null for anything else."""
    return text.str.to_uppercase().replace_strict(_RIGHTS, default=None, return_dtype=pl.String)
