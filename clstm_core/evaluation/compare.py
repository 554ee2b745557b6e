"""The ladder against the baselines: paired differences on the same dates, a champion, and what may be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm_core.errors import EvaluationError
from clstm_core.evaluation import words
from clstm_core.evaluation.figures import FIGURE, MEAN_METRIC, SHARPE_METRIC
from clstm_core.evaluation.headline import champion_of, headline_of, judged_pairs, window_rank
from clstm_core.evaluation.pairing import Key, counterpart, group, rungs_of, series
from clstm_core.evaluation.periods import Account, Rows
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.qualification import standings
from clstm_core.evaluation.statistics import (
    REPLICATIONS,
    Interval,
    difference_of_means,
    paired_mean,
    paired_sharpe,
)
from clstm_core.evaluation.superiority import SAMPLES
from clstm_core.evaluation.sureness import TOO_LITTLE, Statistics, statistics_of
from clstm_core.evaluation.tear_sheet import account_figures
from clstm_core.evaluation.trials import count_trials

if TYPE_CHECKING:
    from clstm_core.evaluation.fair_worlds import Luck

BPS = 1e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What the backtests say, for a table, a store and a reader.

    rows:        one per backtest, best ratio of mean to deviation first within a window
    pairs:       one per paired difference, with the columns of the store's `comparisons`, and whether it is of the
                 headline and against a baseline
    overfitting: in-sample against held-out, one row per rung, and the answer in words
    champion:    which rung, chosen where and why; where none qualifies, the rung that is judged, `qualified` False
    trials:      how many policies looked at the test window
    notes:       caveats of policies
    statistics:  how sure one may be of it
    account:     figures of the judged account (`tear_sheet.account_figures`); empty where none is judged
    """

    rows: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    overfitting: dict[str, Any]
    champion: dict[str, Any] | None
    trials: int
    data_label: str
    verdict: str
    notes: list[str]
    statistics: Statistics
    account: dict[str, Rows]

    def to_rows(self) -> list[dict[str, Any]]:
        """The table of backtests."""
        return [dict(row) for row in self.rows]

    def judged(self) -> list[dict[str, Any]]:
        """The champion's mean difference from each baseline in the headline."""
        return judged_pairs(self.pairs, self.champion)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def compare(
    results: Sequence[Backtest],
    stressed: Sequence[Backtest] = (),
    *,
    luck: "Luck | None" = None,
    measured: Sequence[Mapping[str, Any]] | None = None,
    trials: int | None = None,
    counted: str = "",
    run: str | None = None,
    seed: int = 0,
    replications: int = REPLICATIONS,
) -> Comparison:
    """Compare checkpoints with baselines on the same dates and say what follows.

    The champion is that of `headline.champion_of`: the test window takes no part in the choice.

    Args:
        stressed: backtests of the champion and the baselines in the stressed world, where there is one: what is beaten
            must be beaten there as well
        luck: the champion's place among fair worlds, where it was walked through them: what is beaten must be more
            than luck
        measured: as `headline.champion_of` takes it
        trials: policies that were ever evaluated on the test window, from the registry; counted from `results` when
            left out
        counted: where that number comes from, in words
        run: name of the run that the rows belong to; that of the results when left out

    Raises: EvaluationError without backtests, or without a test window among them
    """
    groups = group(results)
    headline = headline_of(groups)
    if headline.window != "test":
        found = ", ".join(sorted({key.window for key in groups}))
        raise EvaluationError(f"no backtest of the test window: found {found}. Backtest the test window first.")
    champion, reason, qualified = champion_of(groups, headline, measured)
    run = run or next((r.manifest["run"] for r in results if r.manifest.get("run")), "")
    chosen_milestone = champion.manifest["milestone"] if champion else None
    pairs = [
        {**pair, "run": run, "champion": qualified and pair["milestone"] == chosen_milestone}
        for key, members in groups.items()
        if key.window in ("test", "validation")
        for pair in _pairs(key, members, headline=key == headline, seed=seed, replications=replications)
    ]
    pairs = _with_luck(_with_stress(pairs, stressed, seed, replications), luck)
    if trials is None:
        trials, counted = count_trials(result.manifest for result in results), "Counted among these backtests alone."
    overfitting = _overfitting(groups, headline, seed, replications)
    reference = groups[headline]
    label = words.data_label(reference[0].manifest)
    without_lag = counterpart(groups.get(headline._replace(fill_lag=0), []), champion)
    chosen = None
    if champion is not None:
        chosen = {
            "name": champion.name,
            "milestone": chosen_milestone,
            "env_steps": champion.manifest["trader"]["checkpoint"].get("env_steps"),
            "folder": champion.manifest["trader"]["checkpoint"].get("folder"),
            "backtest_id": champion.id,
            "reason": reason,
            "qualified": qualified,
        }
    statistics = statistics_of(reference, champion, trials, counted, seed=seed, replications=min(replications, SAMPLES))
    against = {pair["against"]: pair for pair in judged_pairs(pairs, chosen)}
    nothing = TOO_LITTLE if champion else "no checkpoint"
    return Comparison(
        rows=_rows(groups, champion if qualified else None, headline),
        pairs=pairs,
        overfitting=overfitting,
        champion=chosen,
        trials=trials,
        data_label=label,
        verdict=words.verdict(
            champion.manifest if champion else None,
            reason=reason,
            qualified=qualified,
            against=against,
            cash_return=next((r.manifest["summary"]["total_return"] for r in reference if r.name == "cash"), None),
            without_lag=without_lag.manifest if without_lag else None,
            trials=trials,
            label=label,
            luck=asdict(placed) if luck is not None and (placed := luck.of("cash")) is not None else None,
        ),
        notes=[
            statistics.record.words if statistics.record else f"Deflated Sharpe ratio: none, of {nothing}.",
            counted,
            f"Each interval is a 95% one of its own: none is corrected for the {len(pairs)} differences looked at.",
            *_luck_notes(luck),
            *_standing_notes(measured),
            *sorted({note for result in results for note in result.manifest.get("notes", [])}),
        ],
        statistics=statistics,
        account=_account(champion),
    )


def _account(champion: Backtest | None) -> dict[str, Rows]:
    """Figures of the judged policy's first account; none of one that has fewer than two snapshots."""
    if champion is None:
        return {}
    equity = champion.table("equity")
    first = equity.filter(equity["episode"] == equity["episode"].min())
    return account_figures(Account.of(first)) if first.height > 1 else {}


def _rows(groups: Mapping[Key, list[Backtest]], champion: Backtest | None, headline: Key) -> list[dict]:
    rows = []
    for key, members in groups.items():
        for r in members:
            m = r.manifest
            rows.append(
                {
                    "backtest_id": r.id,
                    "name": r.name,
                    "policy": m["policy"],
                    "label": m["trader"]["label"],
                    "milestone": m["milestone"],
                    "mode": m["mode"],
                    "env_steps": (m["trader"]["checkpoint"] or {}).get("env_steps"),
                    "window": key.window,
                    "first_date": m["first_date"],
                    "last_date": m["last_date"],
                    "n_snapshots": m["n_snapshots"],
                    "fill_lag": key.fill_lag,
                    "fill_rule": words.fill_rule(m),
                    "headline": key == headline,
                    "champion": champion is not None and r.name == champion.name,
                    # a backtest of before a figure was added has none
                    **{name: m["summary"].get(name) for name in FIGURE},
                }
            )
    return sorted(
        rows,
        key=lambda row: (not row["headline"], window_rank(row["window"]), row["fill_lag"], -(row["ratio"] or 0.0)),
    )


def _pairs(
    key: Key, members: Sequence[Backtest], *, headline: bool, seed: int, replications: int
) -> list[dict[str, Any]]:
    """Every checkpoint against every baseline, and each rung against the last one."""
    found = series(members)
    rungs = rungs_of(members)
    pairs = []
    for result in members:
        if result.manifest["policy"] != "checkpoint":
            continue
        others = [r for r in members if r.manifest["policy"] != "checkpoint"]
        if rungs and result in rungs[:-1]:
            others.append(rungs[-1])
        for other in others:
            a, b = found[result.name], found[other.name]
            mean = paired_mean(a.log_returns, b.log_returns, scale=BPS, seed=seed, replications=replications)
            intervals: list[tuple[str, Interval | None]] = [(MEAN_METRIC, mean)]
            if headline:
                intervals.append(
                    (SHARPE_METRIC, paired_sharpe(a.excess, b.excess, seed=seed, replications=replications))
                )
            facts = {"headline": headline, "baseline": other.manifest["policy"] != "checkpoint"}
            pairs += [
                {**_pair(key, result, other, metric, interval, replications), **facts}
                for metric, interval in intervals
                if interval is not None
            ]
    return pairs


def _pair(
    key: Key, result: Backtest, other: Backtest, metric: str, interval: Interval, replications: int
) -> dict[str, Any]:
    m = result.manifest
    block = interval.block_length
    return {
        "policy": m["policy"],
        "policy_name": result.name,
        "milestone": m["milestone"],
        "mode": m["mode"],
        "against": other.name,
        "window": key.window,
        "fill_lag": key.fill_lag,
        "fill_rule": words.fill_rule(m),
        "metric": metric,
        "env_steps": (m["trader"]["checkpoint"] or {}).get("env_steps"),
        "estimate": interval.estimate,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "confidence": interval.confidence,
        "n_dates": interval.n_returns,
        "n_bootstrap": 0 if interval.too_short else replications,
        "method": "too short for an interval"
        if block is None
        else f"paired stationary bootstrap, mean block {block:g}",
        "distinguishable": interval.sign != 0,
        "verdict": f"{words.relation(interval.low, interval.high)} {words.plain(other.name)}",
    }


def _with_stress(
    pairs: list[dict[str, Any]], stressed: Sequence[Backtest], seed: int, replications: int
) -> list[dict[str, Any]]:
    """The headline's pairs with the same difference in the stressed world, and words that need both."""
    if not stressed:
        return pairs
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for key, members in group(stressed).items():
        for pair in _pairs(key, members, headline=True, seed=seed, replications=replications):
            found[pair["policy_name"], pair["against"], pair["metric"]] = pair
    told = []
    for pair in pairs:
        other = found.get((pair["policy_name"], pair["against"], pair["metric"])) if pair["headline"] else None
        if other is not None:
            beside = {f"stressed_{name}": other[name] for name in ("estimate", "ci_low", "ci_high")}
            pair = pair | beside
            pair["verdict"] = f"{words.relation_of(pair)} {words.plain(pair['against'])}"
        told.append(pair)
    return told


def _with_luck(pairs: list[dict[str, Any]], luck: "Luck | None") -> list[dict[str, Any]]:
    """The champion's mean differences in the headline with their place among fair worlds."""
    if luck is None:
        return pairs
    told = []
    for pair in pairs:
        mine = pair["headline"] and pair["metric"] == MEAN_METRIC and pair["policy_name"] == luck.policy
        if mine:
            placed = luck.of(pair["against"])
            beside = {"p": None, "p_adjusted": None, "worlds": None} if placed is None else asdict(placed)
            pair = pair | {
                "p_value": beside["p"],
                "p_adjusted": beside["p_adjusted"],
                "n_worlds": beside["worlds"],
                "beyond_luck": placed is not None and placed.beyond_luck,
            }
            pair["verdict"] = f"{words.relation_of(pair)} {words.plain(pair['against'])}"
        told.append(pair)
    return told


def _luck_notes(luck: "Luck | None") -> list[str]:
    """What a reader must know of the p-values."""
    if luck is None:
        return ["No fair-world test was made: intervals stand alone, and see only losses that happened."]
    family = [placed for placed in luck.placed if placed.against != "cash"]
    if not family:
        return ["No fair-world test could be made on this window: nothing is called better than luck."]
    return [
        f"Luck p of {len(family)} other baselines is judged together (Holm, {family[0].level:.0%}); against cash one "
        "test was registered before."
    ]


def _standing_notes(measured: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """Why each rung qualifies or does not, where that is asked."""
    if measured is None:
        return []
    if not measured:
        return ["No rung qualifies: what the ladder earns in fresh worlds was not measured."]
    said = (
        f"{words.rung_name(rung.milestone)} {'qualifies' if rung.qualifies else 'does not'}: {rung.words}"
        for rung in standings(measured)
    )
    return [f"Growth beyond cash per session, 95% intervals. {'; '.join(said)}."]


def _overfitting(groups: Mapping[Key, list[Backtest]], headline: Key, seed: int, replications: int) -> dict[str, Any]:
    """Did early checkpoints overfit less? Each rung's gap, in-sample less held-out, against the last rung's.

    Units: bps of excess log return per session
    """
    inside = groups.get(headline._replace(window="in_sample"), [])
    rungs = [r for r in rungs_of(groups[headline]) if counterpart(rungs_of(inside), r)]
    if len(rungs) < 2:
        return {"rows": [], "answer": words.overfitting([])}
    seen, held = series(inside), series(groups[headline])
    last = rungs[-1].name
    rows = []
    for rung in rungs:
        a, b = seen[rung.name], held[rung.name]
        gap_a, gap_b = a.log_returns - np.log1p(a.cash), b.log_returns - np.log1p(b.cash)
        change = None
        if rung.name != last:
            # the gap of this rung less the last rung's: both windows pair the two on the same dates
            paired = (a.log_returns - seen[last].log_returns, b.log_returns - held[last].log_returns)
            change = difference_of_means(*paired, scale=BPS, seed=seed, replications=replications)
        rows.append(
            {
                "name": rung.name,
                "milestone": rung.manifest["milestone"],
                "env_steps": rung.manifest["trader"]["checkpoint"].get("env_steps"),
                "in_sample_bps": float(gap_a.mean() * BPS),
                "held_out_bps": float(gap_b.mean() * BPS),
                "gap": difference_of_means(gap_a, gap_b, scale=BPS, seed=seed, replications=replications).to_dict(),
                "gap_less_last": change.to_dict() if change else None,
            }
        )
    return {"rows": rows, "answer": words.overfitting(rows)}
