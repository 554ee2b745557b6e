"""An account as a person writes it down: cash, shares and option legs, as JSON.

    {"cash": 4900000, "shares": 0, "entry_equity": 5000000, "premium_sold": 0,
     "legs": [{"contract": "SPXW  240405P04900000", "quantity": -3, "entry_price": 21.5}]}

All but `cash` may be left out. `premium_sold` is what options sold to open brought in this stretch of 21 sessions.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch

from clstm_core.env.state import AccountState
from clstm_core.errors import ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import MAX_LEGS

AMOUNTS = ("cash", "shares", "entry_equity", "premium_sold")
LEG = ("contract", "quantity", "entry_price")


def read_account(path: Path, market: MarketTensors, account: AccountState) -> AccountState:
    """The account of a file at the market's last snapshot, in place of an empty one there.

    Args:
        account: one account in cash

    Raises: ConfigError for a file that says something else, or a contract that the market does not hold now
    """
    stated = _stated(path)
    amounts = {name: _number(path, name, stated[name]) for name in AMOUNTS if name in stated}
    legs = stated.get("legs", [])
    if not isinstance(legs, list) or len(legs) > MAX_LEGS:
        raise ConfigError(f"legs in {path}: expected a list of at most {MAX_LEGS} option legs. Correct it.")
    row, quantity, entry = (getattr(account, name).clone() for name in _LEG_FIELDS)
    known = _rows_now(market)
    for place, leg in enumerate(legs):
        if not isinstance(leg, dict) or set(leg) - set(LEG) or not {"contract", "quantity"} <= set(leg):
            raise ConfigError(f"leg {place + 1} in {path}: expected {', '.join(LEG)}. Correct it.")
        row[0, place] = _row_of(path, str(leg["contract"]), known)
        quantity[0, place] = _number(path, "quantity", leg["quantity"])
        mark = float(market.mark_Q[row[0, place]])
        entry[0, place] = _number(path, "entry_price", leg.get("entry_price", mark))

    def filled(name: str, usual: torch.Tensor) -> torch.Tensor:
        return torch.full_like(usual, amounts[name]) if name in amounts else usual

    cash = filled("cash", account.cash_N)
    return account._replace(
        cash_N=cash,
        shares_N=filled("shares", account.shares_N),
        leg_row_NL=row,
        leg_quantity_NL=quantity,
        leg_entry_price_NL=entry,
        entry_equity_N=filled("entry_equity", account.entry_equity_N),
        premium_sold_N=filled("premium_sold", account.premium_sold_N),
    )


_LEG_FIELDS = ("leg_row_NL", "leg_quantity_NL", "leg_entry_price_NL")


def _stated(path: Path) -> dict[str, Any]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the account {path}: {error}. Expected a JSON object with cash.") from error
    if not isinstance(stated, dict) or "cash" not in stated or set(stated) - {*AMOUNTS, "legs"}:
        found = ", ".join(stated) if isinstance(stated, dict) else type(stated).__name__
        raise ConfigError(
            f"account {path} holds {found or 'nothing'}: expected cash and, where there are any, shares, entry_equity, "
            "premium_sold and legs. Correct it."
        )
    return stated


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{name} in {path} is {value!r}: expected a number. Correct it.")
    return float(value)


def _rows_now(market: MarketTensors) -> dict[str, int]:
    """Rows of the last snapshot by their contract's name without spaces."""
    first, last = market.row_offset_T1[-2:].tolist()
    contracts = market.row_contract_Q[first:last].tolist()
    return {_plain(market.contract_id(contract)): first + place for place, contract in enumerate(contracts)}


def _row_of(path: Path, name: str, known: dict[str, int]) -> int:
    if (row := known.get(_plain(name))) is None:
        raise ConfigError(
            f"contract {name!r} in {path} is none of the {len(known)} that the quotes follow now: expected one that "
            "the policy was offered in a session of the file. Correct the name, or add the session that opened it."
        )
    return row


def _plain(name: str) -> str:
    return name.replace(" ", "").upper()
