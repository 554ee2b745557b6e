"""A made-up run, as complete as the chain would leave it."""

import math
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation.attribution import beyond_cash
from clstm_core.evaluation.evidence import Curve, Evidence
from clstm_core.evaluation.exposures import CAPS
from clstm_core.evaluation.judged import judged_account
from clstm_core.evaluation.ledgers import FILLS, POSITIONS
from clstm_core.evaluation.periods import Account
from clstm_core.evaluation.sureness import statistics_of
from clstm_core.evaluation.tear_sheet import account_figures
from clstm_core.walk_forward.evidence import WalkEvidence
from clstm_core.walk_forward.figures import figures_of
from clstm_core.walk_forward.luck import sums_of
from clstm_core.walk_forward.stitch import Piece

N_SESSIONS, N_ITERATIONS = 320, 60
POLICIES = ("clstm_080_argmax", "cash", "buy_and_hold", "put_write", "buy_write", "short_straddle", "random")
TERMS = ("delta_usd", "gamma_usd", "vega_usd", "theta_usd", "carry_usd", "settlement_usd", "residual_usd")
VERDICT = "Beats cash; not distinguishable from buy_and_hold (95% interval -2.1 to 3.0 basis points a day)."


def sessions(count: int = N_SESSIONS) -> list[str]:
    """Weekdays from 2024-01-02."""
    day, out = date(2024, 1, 2), []
    while len(out) < count:
        if day.weekday() < 5:
            out.append(day.isoformat())
        day += timedelta(days=1)
    return out


def curve_of(name: str) -> Curve:
    """A made-up account's equity."""
    steps = np.random.default_rng(POLICIES.index(name)).normal(40.0, 2000.0, N_SESSIONS)
    return Curve(name=name, dates=sessions(), equity=(1e6 + np.cumsum(steps)).tolist(), is_policy=name == POLICIES[0])


def backtest_row(curve: Curve, lag: int) -> dict:
    """What is known of `curve_of`'s account at a fill lag."""
    values = np.array(curve.equity)
    return {
        "backtest_id": f"{curve.name}-{lag}",
        "name": curve.name,
        "policy": "checkpoint" if curve.is_policy else curve.name,
        "milestone": "080" if curve.is_policy else "",
        "mode": "argmax" if curve.is_policy else "",
        "window": "test",
        "headline": lag == 1,
        "fill_rule": "touch",
        "fill_lag": lag,
        "start_equity_usd": 1e6,
        "final_equity_usd": float(values[-1]),
        "total_return": float(values[-1] / 1e6 - 1) + 0.01 * (1 - lag),
        "max_drawdown": float((values / np.maximum.accumulate(values) - 1).min()),
        "sharpe": 0.4,
        "annual_return": 0.02,
        "annual_volatility": 0.09,
        "n_fills": 50,
        "n_size_zero_fills": 3,
        "fees_usd": 65.0,
        "spread_usd": 1000.0,
        "turnover": 0.05,
        "n_liquidations": 0,
        "max_margin_used": 0.21,
    }


def attribution_rows() -> list[dict]:
    """Fifteen months of made-up terms, costs negative."""
    random = np.random.default_rng(0)
    rows = [
        {
            "month": f"{2024 + k // 12}-{k % 12 + 1:02d}",
            **{name: float(random.normal(30, 900)) for name in TERMS},
            "spread_usd": -float(random.uniform(0, 900)),
            "fees_usd": -float(random.uniform(0, 90)),
        }
        for k in range(15)
    ]
    terms = [{**row, "pnl_usd": sum(value for name, value in row.items() if name != "month")} for row in rows]
    return beyond_cash([{**row, "cash_usd": 25.0} for row in terms])


def judged_account_rows() -> dict:
    """What the judged account's made-up ledgers say: a strangle sold every 30 sessions and settled 20 later."""
    curve, n = curve_of(POLICIES[0]), N_SESSIONS
    random = np.random.default_rng(5)
    moves = random.normal(2.0, 40.0, n)
    snapshots = [datetime.fromisoformat(f"{date}T21:00:00+00:00") for date in curve.dates]
    equity = pl.DataFrame(
        {
            "episode": [0] * n,
            "step": range(n),
            "snapshot": snapshots,
            "spot": 5000.0 + np.cumsum(moves),
            "equity_usd": curve.equity,
            "cash_return": [0.0] + [1e-4] * (n - 1),
            "margin_usd": random.uniform(0, 5e4, n),
            "interest_usd": [0.0] * n,
            "delta_usd": 3.0 * moves,
            "gamma_usd": -0.05 * moves**2,
            "theta_usd": [9.0] * n,
            "book_vega_usd": random.normal(0.0, 2e3, n),
            **{name: random.uniform(0, 0.2, n) for name in CAPS},
        }
    )
    trades = [
        {
            "step": at + held,
            "contract_id": f"{right}{at}",
            "quantity": sold,
            "price": price,
            "fee_usd": 1.0,
            "reason": why,
        }
        for at in range(1, n - 30, 30)
        for right, last in (("C", float(at % 60)), ("P", 1.0))
        for held, sold, price, why in ((0, -1.0, 12.0, "open"), (20, 1.0, last, "expiry"))
    ]
    kind = {"episode": 0, "kind": "option", "multiplier": 100.0, "fill_rule": "touch", "bid": 1.0, "ask": 1.1}
    fills = [{**kind, **trade, "snapshot": snapshots[trade["step"]], "size_zero": False} for trade in trades]
    foreseen = {"value": random.normal(0, 1, n - 1), "reward": random.normal(0, 1, n - 1)}
    decisions = {"step": range(1, n), "action_name": ["near_short_strangle"] * (n - 1), **foreseen}
    tables = {
        "equity": equity,
        "fills": pl.DataFrame(fills).cast(FILLS),
        "positions": pl.DataFrame(schema=POSITIONS),
        "decisions": pl.DataFrame(decisions),
    }
    env = {"max_net_exposure": 1.0, "max_gross_exposure": 2.0, "max_crash_loss": 0.25}
    shown = account_figures(Account.of(equity))
    return shown | judged_account(tables, env, {}, simulated=False, discount=0.99)


def training_rows() -> list[dict]:
    """Sixty iterations that look like a run, with a gap of NaN in the held-out metric."""
    rows = []
    for k in range(1, N_ITERATIONS + 1):
        share = k / N_ITERATIONS
        rows.append(
            {
                "run": "demo",
                "iteration": k,
                "env_steps": 8192 * k,
                "approx_kl": 0.004 + 0.003 * math.sin(k),
                "full_unroll_kl": 0.005 + 0.003 * math.sin(k + 1),
                "clip_fraction": 0.14 + 0.03 * math.cos(k),
                "entropy": 3.2 - share,
                "entropy_pct": 100 - 30 * share,
                "policy_grad_norm": 0.3 + 0.1 * math.sin(k),
                "value_grad_norm": 0.05 / k,
                "actor_lr": 1e-4 * (1 - 0.9 * share),
                "critic_lr": 4e-4 * (1 - 0.8 * share),
                "explained_variance_5": 0.6 * share,
                "bootstrapped_explained_variance": 0.7 * share,
                "heldout_explained_variance_5": float("nan") if k % 5 else 0.1 * share - 0.05,
                "value_correlation": 0.75 * share,
                "predicted_mean": 0.2 * share,
                "monte_carlo_mean": 0.25,
                "predicted_std": 0.5 * share,
                "monte_carlo_std": 1.1,
                "mean_reward": 0.02 * share,
                "reward_p001": -9.0,
                "reward_p50": 0.0,
                "reward_p999": 8.0,
                "steps_per_second": 2400 + 50 * math.sin(k),
            }
        )
    return rows


def comparison_rows() -> list[dict]:
    """Five rungs against two baselines on two windows."""
    return [
        {
            "run": "demo",
            "policy": "checkpoint",
            "policy_name": f"clstm_{milestone}_argmax",
            "milestone": milestone,
            "mode": "argmax",
            "against": against,
            "window": window,
            "fill_lag": 1,
            "metric": "mean_daily_excess_bps",
            "env_steps": 98_304 * (rung + 1),
            "estimate": 0.4 * rung - 0.5 + shift,
            "ci_low": 0.4 * rung - 3.0,
            "ci_high": 0.4 * rung + 2.1,
            "n_dates": N_SESSIONS,
            "distinguishable": False,
            "verdict": f"not distinguishable from {against}",
            "champion": milestone == "080",
        }
        for rung, milestone in enumerate(("020", "040", "060", "080", "100"))
        for window in ("test", "validation")
        for against, shift in (("cash", 0.0), ("buy_and_hold", -0.4))
    ]


def overfitting_rows() -> list[dict]:
    """Five rungs that earn a little more in sample."""
    return [
        {
            "milestone": milestone,
            "env_steps": 98_304 * (k + 1),
            "in_sample_bps": 0.2 * k,
            "held_out_bps": 0.1 * k - 0.1,
            "gap": 0.4,
            "gap_low": -1.0,
            "gap_high": 1.9,
        }
        for k, milestone in enumerate(("020", "040", "060", "080", "100"))
    ]


def world_rows() -> list[dict]:
    """Every policy in three worlds; the random one was not traded on the twin."""
    return [
        {
            "policy": name,
            "world": world,
            "total_return": 0.05 - 0.03 * k,
            **dict.fromkeys(("less_cash", "ci_low", "ci_high", "n_dates", "verdict")),
            **(
                {}
                if name == "cash"
                else {
                    "less_cash": 1.25 - k,
                    "ci_low": -0.75 - k,
                    "ci_high": 3.25 - k,
                    "n_dates": N_SESSIONS,
                    "verdict": "not distinguishable from cash",
                }
            ),
        }
        for name in POLICIES
        for k, world in enumerate(("calibrated", "zero-premium", "stressed"))
        if (name, world) != ("random", "zero-premium")
    ]


def generalisation_rows() -> list[dict]:
    """Five rungs that memorise more and more, in three kinds of market; validation dates are too few for a gap."""
    return [
        {
            **{"milestone": milestone, "kind": kind, "where": where, "mode": mode, "label": label},
            **{"growth_bps": growth, "low_bps": growth - 1.0, "high_bps": growth + 1.0, "per_risk": growth / 50.0},
            **{"deviation_bps": 50.0, "explained_variance_5": 0.1, "episodes": 256, "draws": 256.0},
            "gap_bps": None if kind == "training_worlds" else k - growth,
            "gap_low_bps": None if kind != "fresh_worlds" else k - growth - 1.2,
            "gap_high_bps": None if kind != "fresh_worlds" else k - growth + 1.2,
        }
        for k, milestone in enumerate(("020", "040", "060", "080", "100"))
        for kind, where, mode, label, growth in (
            ("training_worlds", "the worlds of training", "argmax", "simulated quotes", float(k)),
            ("fresh_worlds", "fresh worlds of the same families", "argmax", "simulated quotes", 0.1 * k),
            ("fresh_worlds", "fresh worlds of the same families", "stochastic", "simulated quotes", 0.2 * k),
            ("validation_dates", "validation dates", "argmax", "modelled quotes", -0.1 * k),
        )
    ]


def statistics() -> dict:
    """How sure one may be of five rungs of noise beside three benchmarks."""
    random, snapshots = np.random.default_rng(2), pl.Series(sessions())
    rungs = {f"clstm_{milestone:03d}_argmax": milestone for milestone in (20, 40, 60, 80, 100)}
    members = []
    for name in (*rungs, *POLICIES[1:]):
        returns = np.full(N_SESSIONS - 1, 1e-4) if name == "cash" else random.normal(4e-4, 0.01, N_SESSIONS - 1)
        curve = np.concatenate([[1.0], np.cumprod(1.0 + returns)])[:, None]
        trader = {"checkpoint": {"env_steps": rungs[name]} if name in rungs else None}
        manifest = {"policy": "checkpoint" if name in rungs else name, "mode": "argmax", "trader": trader}
        members.append(
            SimpleNamespace(
                name=name,
                manifest=manifest,
                curves=lambda curve=curve: (curve, np.full(len(curve) - 1, 1e-4), snapshots),
            )
        )
    judged = next(member for member in members if member.name == POLICIES[0])
    return statistics_of(members, judged, 37, "30 before this package, 7 in the registry.", replications=100).to_dict()


def convention_rows() -> dict:
    """Three sins of which one flatters, delays of which two are impossible, spreads, and an account split in two."""
    shared = {"policy": POLICIES[0], "confidence": 0.95, "n_dates": N_SESSIONS, "per": "year", "n_fills": 50}
    told = {"sin": "clean", "title": "The clean walk", "switched": "Nothing.", "total_return": 0.05, "less_clean": 0.0}
    blank = dict.fromkeys(("inflation", "ci_low", "ci_high"))
    sins = [{**told, **shared, **blank, "sharpe": 0.4, "verdict": ""}]
    for name, title, gain, verdict in (
        ("mid_fills", "Fills at mid", 0.5, "would have flattered it"),
        ("free_margin", "No margin asked for", -0.1, "no difference that can be told from zero"),
        ("hindsight_grid", "Contracts chosen with hindsight", None, "no Sharpe ratio to compare"),
    ):
        span = {"inflation": gain, "ci_low": gain - 0.3, "ci_high": gain + 0.4} if gain is not None else blank
        sins.append(
            {
                **told,
                **shared,
                "sin": name,
                "title": title,
                "switched": f"{title}, and nothing else.",
                "total_return": 0.05 + 0.1 * (gain or 0.0),
                "less_clean": 0.1 * (gain or 0.0),
                "sharpe": 0.4 + (gain or 0.0),
                **span,
                "verdict": verdict,
            }
        )
    delays = [
        {
            **{
                "fill_lag": lag,
                "possible": lag >= 0,
                "clean": lag == 1,
                "policy": POLICIES[0],
                "span": "per year",
                "confidence": 0.95,
            },
            **{"total_return": 0.05 - 0.01 * (lag - 1), "less_cash": 0.03, "less_clean": 0.01, "sharpe": 0.4},
            **{"growth_less_clean": 0.1, "ci_low": -0.4, "ci_high": 0.6, "n_dates": N_SESSIONS},
            **{"n_orders": 40, "n_missed": int(lag < 0), "n_unfilled": 0, "n_fills": 50},
        }
        for lag in range(-2, 6)
    ]
    costs = [
        {
            "policy": name,
            "spread_multiple": multiple,
            "paid": f"{multiple:g} x the half-spread",
            "total_return": 0.05,
            "less_cash": 0.03 - 0.02 * (index + 1) * multiple,
            "sharpe": 0.3,
            "n_fills": 50,
        }
        for index, name in enumerate((*POLICIES[:1], *POLICIES[2:], "clstm_100_argmax"))
        for multiple in (0.0, 0.56, 0.75, 1.0, 2.0)
    ]
    split = {"tilt_low": -9e3, "tilt_high": 2e4, "timing_low": -7e3, "timing_high": 4e3, "confidence": 0.95}
    money = {"pnl_usd": 4e3, "tilt_usd": 6e3, "timing_usd": -2e3}
    terms = ("delta", "gamma", "vega", "theta", "all four")
    tilt = [{"term": term, **money, **split, "n_dates": N_SESSIONS} for term in terms]
    tilt.append({"term": "smile", **dict.fromkeys((*money, *split)), "pnl_usd": 5e2, "n_dates": N_SESSIONS})
    return {
        "sins": sins,
        "sins_words": f"Of 3 conventions that nobody may judge by, 1 would have raised that of {POLICIES[0]}.",
        "delays": delays,
        "delays_words": "The same orders, held fixed, return less each session later.",
        "costs": costs,
        "costs_words": "It earns what cash does at 1.50 times the quoted spread.",
        "break_evens": [
            {"policy": POLICIES[0], "spread_multiple": 1.5, "verdict": "1.50 times the quoted spread"},
            {
                "policy": "put_write",
                "spread_multiple": None,
                "verdict": "none, since even at mid it earns no more than cash",
            },
        ],
        "tilt": tilt,
        "tilt_months": [{"month": month, "term": term, **money} for month in ("2024-01", "2024-02") for term in terms],
        "tilt_words": "Its average Greeks, held constant, would have earned +6,000 USD.",
    }


@pytest.fixture(scope="session")
def report_data() -> Evidence:
    """The evidence of a finished run called demo."""
    curves = [curve_of(name) for name in POLICIES]
    gate = {"gate": "environment_audit", "blocking": True, "threshold": 0.01, "statistic": 0.001}
    proofs = ("conservation", "martingale", "lookahead", "fees", "invariance")
    counts = {"hold": 200, "near_short_strangle": 70, "hedge_delta": 30, "far_iron_condor": 19}
    return Evidence(
        run="demo",
        generated_at="2026-01-05 10:00 UTC",
        label="modelled quotes",
        spread="modelled",
        trained_on="worlds (heston 100%) made of the 1,050 training days of sp500_modelled",
        trained_label="simulated quotes",
        n_sessions=N_SESSIONS,
        first_date=sessions()[0],
        last_date=sessions()[-1],
        policy_name=POLICIES[0],
        verdict=VERDICT,
        verdict_points=["put_write: no contract listed for the rule on 3 snapshots; it waited."],
        provenance=[("recipe", "default_cpu"), ("configuration", "c" * 64), ("git commit", "0123abc")],
        curves=curves,
        backtests=[backtest_row(curve, lag) for curve in curves for lag in (1, 0)],
        worlds=world_rows(),
        attribution=attribution_rows(),
        residual_share=0.1,
        **judged_account_rows(),
        actions=[{"action": name, "count": n, "share": n / 319} for name, n in counts.items()],
        glossary=[
            {
                "name": "near_short_strangle",
                "kind": "action",
                "meaning": "sells the near call of 0.20 delta and the put",
            },
            {"name": "put_write", "kind": "baseline", "meaning": "Cash-secured 1-month put"},
        ],
        ladder=comparison_rows(),
        overfitting=overfitting_rows(),
        overfitting_answer="No rung overfits distinguishably more than another.",
        trial_count=5,
        statistics=statistics(),
        training=training_rows(),
        gates=[{**gate, "name": name, "passed": name != "fees", "detail": f"{name}: checked"} for name in proofs],
        quality=[
            {"check": "copied_session", "severity": "error", "count": 2, "share": 0.02, "snapshots": "2024-03-29"},
            {"check": "wide_spread", "severity": "info", "count": 120, "share": 0.01, "snapshots": "2024-02-01"},
        ],
        generalisation=generalisation_rows(),
        generalisation_answer="It earns more where it was trained: memorised.",
        habits=[
            {"action": "waits", "calm": 0.9, "middle": 0.8, "wild": 0.5},
            {"action": "sells a strangle of the near expiry", "calm": 0.1, "middle": 0.2, "wild": 0.5},
        ],
        habits_words="In calm markets it waits; in wild ones it sells a strangle.",
        rules=[{"rule": "near short strangle, stacked", "growth_bps": 0.24, "per_risk": 0.05, "episodes": 512}],
        rules_words="The best of the fixed rules that were tried there earns 0.054; checkpoint 100% 0.041, 76% of it.",
        **convention_rows(),
        exports=[{"file": "policy.onnx", "format": "onnx", "sha256": "e" * 64, "bytes": 9}],
        parity=[
            {"runtime": "onnx", "batch": 1, "steps": 1000, "actions_differing": 0, "p50_us": 140.0, "passed": True}
        ],
    )


def piece(fold, first, drift):
    """One fold of a made-up walk-forward: two seeds that earn a drift and noise over cash."""
    sessions = 300
    draw = np.random.default_rng(fold)
    days = np.arange(np.datetime64(first), np.datetime64(first) + sessions + 1).astype(str).tolist()
    cash = np.full(sessions, 1e-4)
    return Piece(
        fold=fold,
        dates=days,
        cash=cash,
        spot=draw.normal(0.0, 0.01, sessions),
        seeds={seed: np.log1p(cash) + draw.normal(drift, 1e-3, sessions) for seed in (0, 1)},
        baselines={
            "cash": np.log1p(cash),
            **{n: draw.normal(0.0, 0.01, sessions) for n in ("buy_and_hold", "put_write")},
        },
    )


def walk_evidence_with(drift=0.0, recipes=("default_cpu",), *, fair=True):
    """A made-up walk-forward of two folds and two seeds, its rungs walked through forty fair worlds or through none."""
    draw = np.random.default_rng(9)
    worlds = [sums_of([draw.normal(0.0, 1e-3, (300, 40)) for _ in (0, 1)]) for _ in (1, 2)] if fair else []
    pieces = [piece(1, "2000-01-03", drift), piece(2, "2000-12-01", drift)]
    spans = {f"{name}_{end}": "1999-01-04" for name in ("train", "validation", "test") for end in ("from", "to")}
    return WalkEvidence(
        run="sp500",
        label="modelled quotes",
        data_label="modelled quotes (sp500_modelled, spread modelled), smile and spreads assumed",
        verdict="2 folds.",
        verdict_points=["A point."],
        folds=[
            {
                **spans,
                "fold": fold,
                "recipe": recipe,
                "seed": seed,
                "rung": "060",
                "why": "best",
                "fills": 3,
                "excess_bps": 0.5,
            }
            for recipe in recipes
            for fold in (1, 2)
            for seed in (0, 1)
        ],
        figures=[figures_of(recipe, pieces, {}, simulated=False, modelled=True, fair=worlds) for recipe in recipes],
        embargo=147,
        trials=90,
        provenance=[("git commit", "a" * 40)],
        generated_at="2026-11-30 10:00 UTC",
    )


@pytest.fixture(scope="session")
def walk_evidence():
    """A made-up walk-forward that is level with cash."""
    return walk_evidence_with()


@pytest.fixture(scope="session")
def walk_evidence_of():
    """Builds one with another drift, or of several recipes."""
    return walk_evidence_with
