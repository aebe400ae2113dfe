"""Sweeps made by hand: a recipe with a space, and results of a planted response. No figure in them was measured."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from report_fixtures import make_recipe

from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.answer import Answer, Response, concluded
from rcpt_ray.sweep.page.plots.lattice import with_values
from rcpt_ray.sweep.result import Role, StageUse, Trial, TrialResult
from rcpt_ray.sweep.space import Settings, coordinates_of, grid_points, random_points, stratified_point
from rcpt_ray.sweep.trial_recipe import own_point
from rcpt_ray.sweep.tried import tried_points

SHARES = ["web/thought", "law/raw", "books/replay"]
SHARES_SPACE: dict[str, Any] = {
    "mixture.weights": {"components": SHARES, "step": 0.1},
    "thoughts.sampling.max_thought_tokens": {"values": [32, 64, 128]},
}
BEST: Settings = {
    "mixture.weights": dict(zip(SHARES, (0.6, 0.3, 0.1), strict=True)),
    "thoughts.sampling.max_thought_tokens": 64,
}
TWO_OBJECTIVES: dict[str, Any] = {
    "bits per byte": {"measures": {"heldout/bits_per_byte": 1.0}},
    "accuracy": {"measures": {"quiz/acc": 1.0}, "goal": "maximize"},
}


def make_sweep(space: dict[str, Any], **changed: Any) -> Recipe:
    """A recipe that sweeps its arm `reasoning`; shares are equal in it where shares are swept."""
    sources = {
        "web": {"path": "web.jsonl", "domain": "stem"},
        "law": {"path": "law.jsonl", "domain": "law"},
        "books": {"path": "books.jsonl", "domain": "books", "role": "replay"},
    }
    own = {"web/thought": 0.5, "law/raw": 0.5}
    arms = make_recipe().model_dump()["arms"]
    arms["reasoning"]["overrides"] = {"mixture.weights": own, "thoughts.sampling.max_thought_tokens": 64}
    sweep = {"arm": "reasoning", "space": space, "seeds": [17, 18], "searcher": "random", "budget": {"trials": 60}}
    return make_recipe(corpus={"sources": sources}, arms=arms, sweep=sweep | changed)


def make_points(recipe: Recipe, num_points: int) -> list[tuple[Role, Settings]]:
    """The recipe's own point, equal shares, then points that cover the space (a grid has no more than all)."""
    assert recipe.sweep is not None
    space = recipe.sweep.space
    own = own_point(recipe, recipe.sweep)
    points: list[tuple[Role, Settings]] = [("recipe", own)] if own is not None else []
    if own is not None and (equal := stratified_point(own, space)) is not None:
        points.append(("stratified", equal))
    spread = random_points(space, 3)
    searched = grid_points(space) if recipe.sweep.searcher == "grid" else [next(spread) for _ in range(num_points)]
    return [*points, *(("searched", point) for point in searched[:num_points])]


def planted(point: Settings) -> float:
    """Best at web/thought 0.6, law/raw 0.3, books/replay 0.1 and 64 tokens; 1.10 there."""
    shares, length = point.get("mixture.weights", {}), point.get("thoughts.sampling.max_thought_tokens", 64)
    far = sum((shares.get(name, 0.0) - best) ** 2 for name, best in zip(SHARES, (0.6, 0.3, 0.1), strict=True))
    return 1.10 + 0.3 * (far if shares else 0.0) + 0.02 * math.log2(length / 64) ** 2


def make_results(
    recipe: Recipe, num_points: int = 12, noise: float = 0.004, respond: Any = planted, failed: tuple[str, ...] = ()
) -> list[TrialResult]:
    """A trial a point and seed; thoughts are made once for each length, everything else by each trial."""
    assert recipe.sweep is not None
    luck, made, results = np.random.default_rng(5), set[str](), list[TrialResult]()
    for number, (role, point) in enumerate(make_points(recipe, num_points)):
        for seed in recipe.sweep.seeds or [recipe.seed]:
            trial = Trial(number=number, role=role, point=point, seed=seed)
            bits = respond(point) + noise * luck.standard_normal()
            length = str(point.get("thoughts.sampling.max_thought_tokens", 64))
            stages = {
                "generate": stage(f"thoughts{length}", f"thoughts{length}" not in made, 120.0, engine_requests=40),
                "training": stage(f"training{trial.name}", True, 30.0, gpu_hours=0.01, cost=0.02),
            }
            made.add(f"thoughts{length}")
            values: dict[str, Any] = {
                "trial": trial,
                "status": "ok",
                "objectives": {
                    "bits per byte": bits,
                    "accuracy": 0.5
                    + 0.2 * point.get("mixture.weights", {}).get("law/raw", 0.0)
                    + 0.01 * luck.standard_normal(),
                },
                "stages": stages,
                "num_tokens": 20_000 + 100 * int(length),
                "seconds": 160.0,
            }
            if trial.name in failed:
                reason = f"RuntimeError: no room in {recipe.run}/training for /data/models/tiny <b>"
                values |= {"status": "failed", "objectives": {}, "reason": reason, "num_tokens": None}
            results.append(TrialResult(**values))
    return results


def stage(fingerprint: str, made: bool, seconds: float, **more: Any) -> StageUse:
    """A stage that a trial stands on."""
    values = {"gpu_hours": 0.0, "cost": None} | more
    return StageUse(fingerprint=fingerprint, seconds=seconds, made_here=made, **values)


@dataclass(frozen=True)
class StandIn:
    """A surface that knows the planted response exactly, and its optimum; errors are as told."""

    cv_skill: float = 0.9
    radius: float = 0.15
    """Shares so near the best ones are not distinguishable from them."""
    kind: str = "the planted response"
    num_points: int = 14
    num_measured: int = 14
    num_trainings: int = 28
    cv_error: float = 0.01
    noise: float | None = 0.004
    degrees: int = 20
    point: Settings = field(default_factory=lambda: dict(BEST))
    value: float = 1.10
    low: float = 1.09
    high: float = 1.11
    indistinguishable: tuple[int, ...] = ()

    @property
    def region(self) -> dict[str, tuple[float, float]]:
        """The extent of the planted optimum's neighbours."""
        lengths = {"thoughts.sampling.max_thought_tokens": (64.0, 64.0)}
        return dict(zip(SHARES, [(0.5, 0.7), (0.2, 0.4), (0.0, 0.2)], strict=True)) | lengths

    def predict(self, points: list[Settings]) -> tuple[Any, Any]:
        """The planted response with independent errors of 0.002."""
        return np.array([planted(point) for point in points]), 0.002**2 * np.eye(len(points))

    def holds(self, point: Settings) -> bool:
        """Whether the shares are near the best ones."""
        shares, best = point["mixture.weights"], BEST["mixture.weights"]
        return max(abs(shares.get(name, 0.0) - best[name]) for name in SHARES) <= self.radius

    def holds_all(self, points: list[Settings]) -> list[bool]:
        """The same of many."""
        return [self.holds(point) for point in points]


def make_answer(recipe: Recipe, results: list[TrialResult], stand_in: StandIn | None, name: str = "") -> Answer:
    """The answer of the first objective with a surface that is known exactly."""
    assert recipe.sweep is not None
    name = name or next(iter(recipe.sweep.objectives))
    tried = tried_points(results, recipe.sweep.space)
    points = [one for one in tried if one.is_whole(name)]
    surface: Any = stand_in
    if stand_in is not None:
        alike = tuple(place for place, one in enumerate(points) if stand_in.holds(one.point))
        surface = replace(stand_in, indistinguishable=alike)
    weights = {"mixture.weights": 0.8, "thoughts.sampling.max_thought_tokens": 0.3} if surface else {}
    told = concluded(recipe, recipe.sweep, name, tried, surface, surface, weights)
    return told if surface is None else replace(told, responses=_responses(told))


def _responses(answer: Answer) -> dict[str, Response]:
    assert answer.chosen is not None
    found: dict[str, Response] = {}
    for coordinate in coordinates_of(answer.space):
        values = [coordinate.low + place / 10 * (coordinate.high - coordinate.low) for place in range(11)]
        means = [planted(with_values(answer.chosen.point, {coordinate: value}, answer.space)) for value in values]
        found[coordinate.name] = [(x, mean, mean - 0.01, mean + 0.01) for x, mean in zip(values, means, strict=True)]
    return found
