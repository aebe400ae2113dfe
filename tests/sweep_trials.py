"""Recipes and results of sweeps, for tests."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from rcpt_ray.recipe import Recipe, recipe_from
from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import StageUse, Trial, TrialResult
from rcpt_ray.sweep.spec import Axis

_SPACE = TypeAdapter(dict[str, Axis])
SAMPLES = "samples://corpus"


def space_of(**axes: Any) -> dict[str, Axis]:
    """A space, validated as in a recipe."""
    return _SPACE.validate_python(axes)


def swept_recipe(sweep: Mapping[str, Any], run: str = "runs/swept", **changed: Any) -> Recipe:
    """A recipe of the tiny model on the samples, with thoughts of the fake engine, that sweeps its one arm."""
    values: dict[str, Any] = {
        "name": "swept",
        "run": run,
        "student": {"reference": "tiny-random-llama"},
        "corpus": {
            "sources": {
                name: {"path": f"{SAMPLES}/{name}.jsonl", "domain": name, "max_documents": 12}
                for name in ("stem", "law")
            },
            "heldout_share": 0.25,
        },
        "thoughts": {
            "engine": "fake",
            "teacher": {"reference": "tiny-random-llama"},
            "sampling": {"max_thought_tokens": 64},
        },
        "mixture": {
            "row_tokens": 256,
            "num_tokens": 3000,
            "weights": {"stem/thought": 0.5, "law/thought": 0.5},
        },
        "training": {"global_batch_rows": 4, "num_workers": 1},
        "report": {"baseline": "reasoning"},
        "arms": {"reasoning": {}},
        "sweep": {"arm": "reasoning"} | dict(sweep),
    }
    return recipe_from(values | changed)


def ended(trial: Trial, value: float, **changed: Any) -> TrialResult:
    """A trial that went well, with this objective."""
    stages = {"training": StageUse(fingerprint=trial.name, seconds=5, gpu_hours=0.5, cost=2.0, made_here=True)}
    return TrialResult(
        trial=trial, status="ok", objectives={"bits per byte": value}, stages=stages, seconds=6.0
    ).model_copy(update=changed)


def run_through(
    recipe: Recipe, objective: Callable[[Trial], float], before: list[TrialResult] | None = None
) -> Proposals:
    """A sweep whose trials end at once, one after another."""
    proposals = Proposals(recipe, before or [])
    while (trial := proposals.next()) is not None:
        proposals.tell(ended(trial, objective(trial)))
    return proposals
