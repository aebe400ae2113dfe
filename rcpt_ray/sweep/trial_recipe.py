"""The recipe of a trial: the sweep's recipe with one arm, the point's settings, the proxy's settings and a seed.

Settings of thoughts, mixture and training become those of the arm, over its own overrides; others are the recipe's.
"""

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from rcpt_ray.errors import UserError
from rcpt_ray.sweep.measures import check_objectives
from rcpt_ray.sweep.spec import SimplexAxis, SweepSpec, ValuesAxis

if TYPE_CHECKING:
    from pathlib import Path

    from rcpt_ray.recipe import Recipe
    from rcpt_ray.sweep.result import Trial

OF_ARMS = ("thoughts", "mixture", "training")
_NOT_SWEPT = ("name", "run", "seed", "layout", "arms", "cluster", "report", "comparison", "sweep")


def check_sweep(recipe: "Recipe", sweep: SweepSpec) -> None:
    """ValueError, in one sentence, where a sweep does not fit its recipe."""
    arm = recipe.arms.get(sweep.arm)
    if arm is None or not arm.train:
        known = ", ".join(name for name, own in recipe.arms.items() if own.train)
        raise ValueError(f"sweep.arm={sweep.arm} is no trained arm; those are {known}")
    settings = recipe.arm_settings(sweep.arm)
    if settings.mixture.matched_to is not None:
        raise ValueError(
            f"sweep.arm={sweep.arm} is matched to {settings.mixture.matched_to}, which is no part of a trial; sweep "
            "another arm, or give this one mixture.num_tokens instead"
        )
    check_objectives(sweep, list(recipe.evaluation.tasks), recipe.evaluation.heldout_bits_per_byte)
    for name in [*sweep.space, *sweep.proxy]:
        where = f"sweep.{'space' if name in sweep.space else 'proxy'}.{name}"
        if name.split(".")[0] in _NOT_SWEPT or "." not in name:
            raise ValueError(f"{where} is no setting of a stage; name one such as mixture.thought_share")
    is_watched = settings.training.watch.heldout_every_steps is not None and recipe.corpus.heldout_share > 0
    if sweep.early_stop is not None and not is_watched:
        raise ValueError(
            "sweep.early_stop compares held-out bits per byte while training, which are not measured; set "
            "training.watch.heldout_every_steps, and corpus.heldout_share above 0"
        )


def recipe_at(recipe: "Recipe", trial: "Trial", curves: "Path | None" = None) -> "Recipe":
    """The recipe that a trial runs; UserError where its settings break a rule.

    In the folder `curves` trials leave how they fare, where those that fall behind are to be given up.
    """
    sweep = recipe.sweep
    assert sweep is not None
    settings = sweep.proxy | trial.point
    if sweep.early_stop is not None and curves is not None:
        others = sweep.early_stop.model_dump() | {"folder": str(curves), "name": trial.name}
        settings |= {"training.guard.others": others}
    values = with_settings(recipe, sweep.arm, settings)
    values["arms"] = {sweep.arm: values["arms"][sweep.arm]}
    values["report"]["baseline"], values["report"]["control"] = sweep.arm, None
    values["comparison"] = {"domains": None, "seeds": [trial.seed]}
    values["sweep"] = None
    from rcpt_ray.recipe import recipe_from

    return recipe_from(values)


def with_settings(recipe: "Recipe", arm: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The recipe's values with dotted settings changed: those of thoughts, mixture and training for the arm alone."""
    from rcpt_ray.recipe import set_dotted

    values = recipe.model_dump(mode="json")
    for name, value in settings.items():
        if name.split(".")[0] in OF_ARMS:
            values["arms"][arm]["overrides"][name] = deepcopy(value)
        else:
            set_dotted(values, name, deepcopy(value))
    return values


def own_point(recipe: "Recipe", sweep: SweepSpec) -> dict[str, Any] | None:
    """The point of the space that the recipe itself stands at; None where it stands at none.

    It stands at none where a swept setting has no value, or one that is no member of its axis.
    """
    settings = recipe.arm_settings(sweep.arm).model_dump(mode="json")
    whole = recipe.model_dump(mode="json")
    point: dict[str, Any] = {}
    for name, axis in sweep.space.items():
        value: Any = settings if name.split(".")[0] in OF_ARMS else whole
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        match axis:
            case SimplexAxis():
                if not isinstance(value, dict) or not set(value) <= set(axis.components):
                    return None
                value = {component: share for component, share in value.items() if share > 0}
            case ValuesAxis():
                if value not in axis.values:
                    return None
            case _:
                if not isinstance(value, int | float) or not axis.low <= value <= axis.high:
                    return None
        point[name] = value
    return point


def require_valid(recipe: "Recipe", sweep: SweepSpec) -> None:
    """UserError where a value of an axis breaks a rule of its setting, whatever the other settings are.

    Each value is tried on the recipe as it is, then with the other axes at their middle; what only some combinations
    break is told by their trials.
    """
    from rcpt_ray.sweep.space import grid_points, num_dimensions, point_at

    middle = point_at([0.5] * num_dimensions(sweep.space), sweep.space)
    for name, axis in sweep.space.items():
        for point in [{name: middle[name]}] if isinstance(axis, SimplexAxis) else grid_points({name: axis}):
            mistake = mistake_at(recipe, point)
            if mistake is not None and mistake_at(recipe, middle | point) is not None:
                raise UserError(f"sweep.space.{name}: {point[name]!r} cannot be tried: {mistake}")


def mistake_at(recipe: "Recipe", point: dict[str, Any]) -> str | None:
    """Why a recipe cannot be had with these settings, in words; None where it can."""
    from rcpt_ray.sweep.result import Trial

    try:
        recipe_at(recipe, Trial(number=0, role="searched", point=point, seed=recipe.seed))
    except (UserError, ValueError) as mistake:
        return str(mistake)
    return None
