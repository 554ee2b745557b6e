"""What every page shares: its templates and the content security policy that it states."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"


def policy(scripts: Iterable[str]) -> str:
    """A policy that admits these sources of scripts and nothing from a network.

    Plotly sets styles inline and downloads images as data.
    """
    return (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


CSP = policy(["'self'"])
"""Scripts from files beside the page alone."""


def template(name: str) -> Template:
    """A page's template: it escapes what it is given, and an unknown name raises."""
    return _environment().get_template(name)


def coded(text: str) -> Markup:
    """The text, escaped, with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


@cache
def _environment() -> Environment:
    made = Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined)
    made.filters["coded"] = coded
    return made
