"""What the names of a report mean: the judged policy's actions by their legs, and each baseline by its own label."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clstm_core.specs import CELLS, RIGHT_CALL, TEMPLATES, Cell, Template

SIMPLE = {
    "hold": "trades nothing",
    "close_all": "closes every option and share",
    "hedge_delta": "trades shares until the account's delta is nothing",
}
_CELLS = {cell.name: cell for cell in CELLS}


def glossary(actions: Iterable[str], baselines: Mapping[str, str], risk_fraction: float | None) -> list[dict[str, Any]]:
    """A row of name, kind and meaning for each action that was chosen and each baseline that was traded.

    Args:
        baselines: labels of the baselines, by name
        risk_fraction: share of equity that one package may risk, which sets its size
    """
    known = SIMPLE | {template.name: _package(template) for template in TEMPLATES}
    size = "" if risk_fraction is None else f"; whole units that put at most {risk_fraction:.0%} of equity at risk"
    rows = [
        {"name": name, "kind": "action", "meaning": known[name] + ("" if name in SIMPLE else size)}
        for name in actions
        if name in known
    ]
    return rows + [{"name": name, "kind": "baseline", "meaning": label} for name, label in baselines.items()]


def _package(template: Template) -> str:
    """One unit of a package in words: what it sells first."""
    sold = [_CELLS[cell] for cell, quantity in template.legs if quantity < 0]
    bought = [_CELLS[cell] for cell, quantity in template.legs if quantity > 0]
    parts = [f"{verb} {_legs(cells)}" for verb, cells in (("sells", sold), ("buys", bought)) if cells]
    if template.shares:
        parts.append("buys the shares that one contract is of")
    return " and ".join(parts)


def _legs(cells: Sequence[Cell]) -> str:
    return " and ".join(
        f"the {cell.tenor} {'call' if cell.right == RIGHT_CALL else 'put'} {_strike(cell)}" for cell in cells
    )


def _strike(cell: Cell) -> str:
    if cell.same_strike_as_near:
        return "of the near one's strike"
    return "at the money" if cell.delta is None else f"of {cell.delta:.2f} delta"
