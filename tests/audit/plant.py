"""How a leak is planted in the environment."""

import dataclasses
from collections.abc import Callable

import pytest

from clstm_core.env import table_view

Plant = Callable[[pytest.MonkeyPatch], None]


def wrap(patch: pytest.MonkeyPatch, name: str, change: Callable, *modules) -> None:
    """Replace function `name` in each module by one that changes the honest result: change(result, *args)."""
    honest = getattr(modules[0], name)

    def leaky(*args, **kwargs):
        return change(honest(*args, **kwargs), *args, **kwargs)

    for module in modules:
        patch.setattr(module, name, leaky)


def change_table(patch, change):
    """Change the derived table [Q, C] of a market in place."""

    def altered(table, market, *_):
        row = table.row_QC.clone()
        change(row, market)
        return dataclasses.replace(table, row_QC=row)

    wrap(patch, "derive", altered, table_view)
