"""The controls: a recipe where nothing can be earned and where something can, so that a verdict can be weighed."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import CONTROLS as ROOMS
from assets.code_versions import code_version
from assets.resources import Metrics, ProjectPaths, Recipe
from assets.support import check, numbers, stage, table, tag_by_recipe
from clstm_core.controls.names import CONTROLS, EDGE_FREE, OVERPAID

if TYPE_CHECKING:
    from clstm_core.artifacts.manifests import ControlsManifest

MOST_INVENTED, LEAST_FOUND = 0.05, 0.7
"""Of windows in which nothing can be earned, called better; of the best fixed rule's profit, earned."""

COLUMNS = ["world", "idle", "growth_bps", "error_bps", "per_risk", "windows", "window_sessions", "called_better"]


@dg.asset(
    group_name="controls",
    kinds={"torch"},
    code_version=code_version(__file__, rooms=ROOMS),
    owners=["team:research"],
    check_specs=check_specs(
        "recipe_controls",
        warning={
            "invents_nothing": "Where nothing can be earned, the recipe's policy is not called better than cash.",
            "finds_an_edge": "Where sellers are overpaid, it earns most of what the best fixed rule does.",
        },
        keyed=None,
    ),
)
def recipe_controls(
    context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """What the recipe finds in two simulated worlds whose edge is known; every report of the recipe prints it.

    Made once for a recipe, minutes each: launch `make_controls`, or `clstm controls`.
    """
    with stage(context, "controls") as progress:
        from clstm_core.controls.kept import make_controls, words_of

        tag_by_recipe(context, recipe)

        def tell(world: str, done: int, total: int) -> None:
            progress(CONTROLS.index(world) * total + done, len(CONTROLS) * total, world)

        kept = make_controls(recipe.core().run_config(), paths.places, progress=tell)
        metrics.store().record(kept)
        words = words_of(kept.found)
    return dg.MaterializeResult(
        metadata={
            "controls": words,
            "label": "simulated quotes",
            "found": table(kept.found, COLUMNS),
            "path": dg.MetadataValue.path(str(kept.place)),
            **numbers({"steps": kept.steps, **_flat(kept)}),
        },
        data_version=dg.DataVersion(kept.identity[:16]),
        check_results=_checks(kept),
    )


def _flat(kept: "ControlsManifest") -> dict[str, Any]:
    """Figures that one plots over launches."""
    return {f"{row['world']}_{name}": row[name] for row in kept.found for name in ("idle", "growth_bps")}


def _checks(kept: "ControlsManifest") -> list[dg.AssetCheckResult]:
    of = {row["world"]: row for row in kept.found}
    invented = of[EDGE_FREE]["called_better"] / of[EDGE_FREE]["windows"]
    best = of[OVERPAID]["rule_growth"]["growth_bps"]
    share = of[OVERPAID]["growth_bps"] / best if best > 0 else 0.0
    return [
        check(
            "invents_nothing",
            invented <= MOST_INVENTED,
            f"called better than cash in {invented:.1%} of windows, expected at most {MOST_INVENTED:.0%}",
            share=invented,
        ),
        check(
            "finds_an_edge",
            share >= LEAST_FOUND,
            f"earned {share:.0%} of the best fixed rule's profit, expected at least {LEAST_FOUND:.0%}",
            share=share,
        ),
    ]
