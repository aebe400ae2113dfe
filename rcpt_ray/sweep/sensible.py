"""What is looked at before the first trial: mistakes that would cost all of a sweep, or tell nothing."""

from typing import Any

from rcpt_ray.artifacts import canonical_json
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.result import Trial
from rcpt_ray.sweep.space import Settings, grid_points, num_dimensions, point_at
from rcpt_ray.sweep.spec import Axis, RangeAxis, SimplexAxis, SweepSpec
from rcpt_ray.sweep.trial_recipe import mistake_at, recipe_at

_INSIDE = 0.37
"""A place within a range that is no end, middle or level of it."""


def require_sensible(recipe: Recipe) -> SweepSpec:
    """The recipe's sweep; UserError, in one sentence, where there is none, or one that cannot be made or tells nothing.

    Each value of an axis is tried on the recipe as it is, then with the other axes at their middle; what only some
    combinations break is told by their trials.
    """
    sweep = recipe.sweep
    if sweep is None:
        raise UserError("the recipe has no sweep: section; write one as in jobs/recipes/sweep.yaml")
    if recipe.comparison.domains is not None:
        raise UserError(
            "comparison.domains is not for sweeps, whose trials train on all sources; set comparison.domains=null and "
            "sweep mixture.weights instead"
        )
    middle = point_at([0.5] * num_dimensions(sweep.space), sweep.space)
    for name, axis in sweep.space.items():
        points = _points_of(name, axis)
        for point in points:
            mistake = mistake_at(recipe, point)
            if mistake is not None and mistake_at(recipe, middle | point) is not None:
                whole = "; with integer: true it takes whole numbers only" if _is_broken(axis, point[name]) else ""
                raise UserError(f"sweep.space.{name}: {point[name]!r} cannot be tried: {mistake}{whole}")
        _require_effect(recipe, name, points)
    valid = next((point for point in (middle, {}) if mistake_at(recipe, point) is None), None)
    if valid is not None:
        _check_trial(recipe, sweep, recipe_at(recipe, _trial(recipe, valid)))
    return sweep


def definition_of(own: Recipe) -> dict[str, Any]:
    """What defines the results of a trial's recipe, as far as settings do."""
    (variant,) = own.variants.values()
    settings = own.variant_settings(variant)
    thoughts = settings.thoughts
    return {
        "corpus": own.corpus.model_dump(mode="json"),
        "student": own.student.model_dump(mode="json"),
        "teacher": [thoughts.engine, thoughts.teacher.model_dump(mode="json")],
        "thoughts": [thoughts.defining(), thoughts.select.defining(), thoughts.scores.defining()],
        "mixture": settings.mixture.defining(),
        "training": settings.training.defining(),
        "evaluation": own.evaluation.model_dump(mode="json"),
        "seeds": [own.seed, variant.seed],
    }


def _points_of(name: str, axis: Axis) -> list[Settings]:
    match axis:
        case SimplexAxis():
            return [{name: dict.fromkeys(axis.components, 1 / len(axis.components))}]
        case RangeAxis():
            return [*grid_points({name: axis}), point_at([_INSIDE], {name: axis})]
        case _:
            return grid_points({name: axis})


def _require_effect(recipe: Recipe, name: str, points: list[Settings]) -> None:
    """UserError where all values of an axis are one and the same trial."""
    if len(points) == 1:
        return
    made = [recipe_at(recipe, _trial(recipe, point)) for point in points if mistake_at(recipe, point) is None]
    if len(made) > 1 and len({canonical_json(definition_of(own)) for own in made}) == 1:
        raise UserError(
            f"sweep.space.{name} changes where or how fast a stage runs, not what comes out; its trials would be one"
        )


def _check_trial(recipe: Recipe, sweep: SweepSpec, own: Recipe) -> None:
    (arm,) = own.arms
    settings = own.arm_settings(arm)
    is_watched = settings.training.watch.heldout_every_steps is not None and own.corpus.heldout_share > 0
    if sweep.early_stop is not None and not is_watched:
        raise UserError(
            "sweep.early_stop compares held-out bits per byte while training, which are not measured; set "
            "training.watch.heldout_every_steps, and corpus.heldout_share above 0"
        )
    http, pools = settings.thoughts.http, (settings.thoughts.pool, own.evaluation.pool)
    prices = [settings.training.price_per_worker_hour, *(pool.price_per_engine_hour for pool in pools)]
    prices += [http.price_per_million_prompt_tokens, http.price_per_million_thought_tokens]
    if sweep.budget.cost is not None and not any(prices):
        raise UserError(
            f"sweep.budget.cost={sweep.budget.cost:g} never ends a sweep without prices; set price_per_engine_hour or "
            "price_per_worker_hour, or give sweep.budget.trials"
        )
    gpus = [settings.training.gpus_per_worker, own.evaluation.gpus, *(pool.gpus_per_engine for pool in pools)]
    if sweep.budget.gpu_hours is not None and not any(gpus):
        raise UserError(
            f"sweep.budget.gpu_hours={sweep.budget.gpu_hours:g} never ends a sweep that uses no GPU; give "
            "sweep.budget.trials"
        )


def _is_broken(axis: Axis, value: Any) -> bool:
    return isinstance(axis, RangeAxis) and not axis.integer and isinstance(value, float) and value % 1 != 0


def _trial(recipe: Recipe, point: Settings) -> Trial:
    return Trial(number=0, role="searched", point=point, seed=recipe.seed)
