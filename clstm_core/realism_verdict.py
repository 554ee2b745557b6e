"""The judge's verdict on canonical quotes, kept by what was judged and by the judge's code."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import QuotesManifest, RealismVerdict
from clstm_core.artifacts.places import DIGITS
from clstm_core.market.public_series import VIX, read_table
from clstm_core.market.realism.judge import Realism, judge
from clstm_core.market.realism.names import CHECKS

WORDS = {
    "option_selling": "what option sellers earned",
    "deviation": "how much that varied",
    "total_return": "the index with its dividends",
    "volatility_level": "the VIX",
}


def ensure_realism(quotes_dir: Path, cache_dir: Path) -> tuple[RealismVerdict, bool]:
    """The outside judge's verdict on a market's quotes, and whether it stood already.

    Raises: MarketDataError when the quotes are not whole
    """
    manifest = QuotesManifest.read(quotes_dir / FILE)
    place = realism_place(cache_dir, manifest.identity)
    if (known := RealismVerdict.kept(place)) is not None and known.parents.get("quotes") == manifest.identity:
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
