"""The judge's verdict on canonical quotes, kept by what was judged and by the judge's code."""

import traceback
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from clstm_core.artifacts.code import PACKAGE, code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import QuotesManifest, RealismVerdict
from clstm_core.artifacts.places import DIGITS
from clstm_core.errors import ClstmError, file_system_sentence, of_file_system
from clstm_core.market.public_series import VIX, read_table
from clstm_core.market.realism.judge import Realism, judge
from clstm_core.market.realism.names import CHECKS

WORDS = {
    "option_selling": "what option sellers earned",
    "deviation": "how much that varied",
    "total_return": "the index with its dividends",
    "volatility_level": "the VIX",
}

MOST_LETTERS = 300
"""Of a foreign exception's own words: some print whole tables."""

FAILURES = (Exception, pl.exceptions.PanicException)
"""What the judge may fail with; a panic of Polars is no Exception. Interrupts are none of them."""


def ensure_realism(quotes_dir: Path, cache_dir: Path) -> tuple[RealismVerdict, bool]:
    """The outside judge's verdict on a market's quotes, and whether it stood already.

    Raises: MarketDataError when the quotes are not whole
    """
    manifest = QuotesManifest.read(quotes_dir / FILE)
    place = realism_place(cache_dir, manifest.identity)
    if (known := _judged(place, manifest.identity)) is not None:
        return known, True
    quotes, underlyings, rates = (
        pl.read_parquet(quotes_dir / f"{name}.parquet") for name in ("quotes", "underlyings", "rates")
    )
    found = judge(quotes, underlyings, rates, read_table(VIX))
    verdict = RealismVerdict(
        source=manifest.source,
        label=manifest.label,
        verdict=sentence(found, manifest.source),
        checks=[
            {"name": name, "passed": not found.failed(name), "asked": found.asked(name), "detail": found.words(name)}
            for name in CHECKS
        ],
        bands=[band.row() for band in found.bands],
        indices=found.indices,
        volatility=found.volatility,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parents={"quotes": manifest.identity},
    )
    return verdict.write(place), False


def keep_unjudged(quotes_dir: Path, cache_dir: Path, why: str) -> RealismVerdict:
    """In place of a verdict, that the judge failed and why; the verdict itself where there is one.

    Next time it is judged anew.

    Raises: MarketDataError when the quotes are not whole
    """
    manifest = QuotesManifest.read(quotes_dir / FILE)
    place = realism_place(cache_dir, manifest.identity)
    if (known := _judged(place, manifest.identity)) is not None:
        return known
    return RealismVerdict(
        source=manifest.source,
        label=manifest.label,
        verdict=why,
        checks=[{"name": name, "passed": False, "asked": False, "detail": why} for name in CHECKS],
        bands=[],
        indices=[],
        volatility=[],
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        judged=False,
        parents={"quotes": manifest.identity},
    ).write(place)


def why_unjudged(error: BaseException) -> str:
    """What failed in the judge, in a sentence: our own errors say it, others are named with the place they arose in."""
    if isinstance(error, ClstmError):
        what = str(error)
    elif isinstance(error, Exception) and of_file_system(error):
        what = file_system_sentence(error)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or frames
        where = f" ({Path(inside[-1].filename).name}, line {inside[-1].lineno})" if inside else ""
        said = " ".join(str(error).split())[:MOST_LETTERS]
        what = f"{type(error).__name__}{': ' if said else ''}{said}{where}. Report it with the log of this step."
    return f"These quotes were not judged from outside: {what}"


def _judged(place: Path, quotes: str) -> RealismVerdict | None:
    """The verdict on these quotes that is kept there, if the judge did not fail."""
    known = RealismVerdict.kept(place)
    return known if known is not None and known.judged and known.parents.get("quotes") == quotes else None


def realism_place(cache_dir: Path, quotes: str) -> Path:
    """Where the verdict on quotes of that identity by today's judge lies."""
    key = json_sha256({"quotes": quotes, "code": code_sha256("clstm_core.market.realism.judge")})
    return cache_dir / "realism" / f"{key[:DIGITS]}.json"


def sentence(found: Realism, source: str) -> str:
    """The answer in words."""
    asked = [check for check in CHECKS if found.asked(check)]
    judged = ", ".join(WORDS[check] for check in asked)
    if not asked:
        return f"{source}: nothing was published for these sessions that it could be judged by."
    left = [band.name for check in asked for band in found.failed(check)]
    if left:
        shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        return f"{source} differs from what others published: {shown}."
    return f"{source} agrees with what others published, within the stated bands: {judged}."
