"""A chain of index options as a vendor quotes it, priced by Black and Scholes at one volatility."""

from datetime import timedelta

import torch

from clstm_core.options.black_scholes import greeks


def price(spot, strike, days, right):
    values = (torch.tensor(float(value), dtype=torch.float64) for value in (spot, strike, days / 365, 0.2, 0.05, 0.01))
    s, k, t, vol, r, q = values
    return float(greeks(s, k, t, vol, r, q, torch.tensor(1.0 if right == "C" else -1.0).double()).price)


def chain(session, spot=5100.0):
    """A chain of SPXW as the API answers it: calls and puts at three expiries, quoted at the session's end."""
    found = {}
    for days in (7, 30, 60):
        expiry = session + timedelta(days=days)
        while expiry.weekday() > 4:
            expiry -= timedelta(days=1)
        for strike in range(4500, 5701, 25):
            for right in "CP":
                mid = price(spot, strike, (expiry - session).days, right)
                bid, ask = max(0.0, round(mid * 0.99 - 0.05, 2)), round(mid * 1.01 + 0.05, 2)
                quote = {
                    "t": f"{session}T20:59:59Z",
                    "bp": bid,
                    "ap": ask,
                    "bs": 10,
                    "as": 10,
                    "bx": "C",
                    "ax": "C",
                    "c": " ",
                }
                found[f"SPXW{expiry:%y%m%d}{right}{strike * 1000:08d}"] = {"latestQuote": quote}
    return found
