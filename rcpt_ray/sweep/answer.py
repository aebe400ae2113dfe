"""What a sweep says of an objective: the best settings, how sure they are, and how the baselines do beside them.

    results -> tried points -> measurements -> surface -> optimum, region, importance, responses
                            `-> best tried point, spread between seeds

Invariants: a point of which a trial has no figure is neither in the surface nor the best; the best settings are such
that the recipe takes them, and lie where trials have figures; they are the surface's optimum where the surface predicts
points that it has not seen (cv_skill > 0), else the best point that was tried, which is told; a baseline is compared
with the best settings by the same judgement that makes the region, so that text, table and region never disagree.
Price: that of fitting the surface and finding its optimum, with some 300 recipes checked (1 ms each); nothing heavy is
imported before that.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.by_seeds import Interval, alike_by_seeds, apart_by_seeds, mean_by_seeds, student, within
from rcpt_ray.sweep.result import TrialResult
from rcpt_ray.sweep.space import Settings, coordinates_of, stratified_point
from rcpt_ray.sweep.spec import Axis, ObjectiveSpec, SweepSpec
from rcpt_ray.sweep.trial_recipe import mistake_at, own_point
from rcpt_ray.sweep.tried import Measurement, Noise, TriedPoint, measurements_of, noise_of, place_of, tried_points

if TYPE_CHECKING:
    from rcpt_ray.sweep.surface.candidates import Barred
    from rcpt_ray.sweep.surface.fit import Surface
    from rcpt_ray.sweep.surface.optimum import Optimum

Response = list[tuple[float | str, float, float, float]]
"""Along one coordinate: its value, the mean there, and the ends of the mean's interval."""


@dataclass(frozen=True)
class Chosen:
    """The settings that are called the best."""

    by: Literal["surface", "tried"]
    """surface: where its mean is best; tried: the tried point whose mean is best."""
    point: Settings
    mean: Interval
    tried: int | None
    """Its place among the answer's points; None where no trial was at it."""


@dataclass(frozen=True)
class Baseline:
    """Settings that need no sweep, beside the best ones."""

    role: Literal["recipe", "stratified"]
    point: Settings
    tried: int | None
    """Its place among the answer's points; None where it has no figure of its own."""
    mean: Interval | None
    difference: Interval | None
    """Its mean less the mean of the best settings."""
    distinguishable: bool | None
    """From the best settings; None where the noise is not known."""
    is_best: bool = False
    """Whether it is the best settings itself."""


@dataclass(frozen=True)
class Answer:
    """What the sweep says of one objective."""

    name: str
    spec: ObjectiveSpec
    space: Mapping[str, Axis]
    confidence: float
    points: list[TriedPoint]
    """Those of which every trial has a figure."""
    noise: Noise | None
    surface: "Surface | None"
    optimum: "Optimum | None"
    """Of the surface; None without one."""
    importance: dict[str, float] = field(default_factory=dict)
    responses: dict[str, Response] = field(default_factory=dict)
    """By coordinate, through the best settings."""
    best_tried: int | None = None
    """Place of the point whose mean is best; None without points."""
    chosen: Chosen | None = None
    alike: list[int] | None = None
    """Places of the points that are not distinguishable from the best settings; None where the noise is not known."""
    baselines: list[Baseline] = field(default_factory=list)
    left_out: list[TriedPoint] = field(default_factory=list)
    """Those of which some trials have a figure and others have none."""

    @property
    def has_skill(self) -> bool:
        """Whether the surface predicts points that it was not fitted to better than their mean does."""
        return self.surface is not None and self.surface.cv_skill > 0

    @property
    def reference(self) -> Baseline | None:
        """What a change must beat: the recipe's own settings, else equal shares."""
        return self.baselines[0] if self.baselines else None

    @property
    def measurements(self) -> list[Measurement]:
        """What the points measured; fewer than they where several stand on the same trainings."""
        return measurements_of(self.points, self.name)

    def mean_of(self, place: int) -> float:
        """Of a point's figures over its seeds."""
        mean = self.points[place].mean(self.name)
        assert mean is not None
        return mean


def answer(recipe: Recipe, results: Sequence[TrialResult]) -> list[Answer]:
    """An answer for each objective of the sweep, in the recipe's order."""
    from rcpt_ray.sweep.surface.fit import Observations, fit_surface
    from rcpt_ray.sweep.surface.importance import along, importance
    from rcpt_ray.sweep.surface.optimum import find_optimum

    sweep = recipe.sweep
    assert sweep is not None

    def allowed(point: Settings) -> bool:
        return mistake_at(recipe, point) is None

    answers = []
    for name, spec in sweep.objectives.items():
        tried = tried_points(results, sweep.space)
        points = [one for one in tried if one.is_whole(name)]
        measured = measurements_of(points, name)
        observations = Observations(
            [one.point for one in points], [one.values for one in measured], [one.places for one in measured]
        )
        surface = fit_surface(sweep.space, observations, recipe.seed)
        found, weights = None, dict[str, float]()
        if surface is not None:
            barred = _barred(tried, name, allowed)
            found = find_optimum(
                surface, sweep.space, observations, spec.goal, sweep.confidence, recipe.seed, allowed, barred
            )
            weights = importance(surface, sweep.space, recipe.seed)
        told = concluded(recipe, sweep, name, tried, surface, found, weights)
        if surface is not None and told.chosen is not None:
            point, names = told.chosen.point, [one.name for one in coordinates_of(sweep.space)]
            responses = {one: along(surface, sweep.space, one, point, sweep.confidence) for one in names}
            told = replace(told, responses=responses)
        answers.append(told)
    return answers


def concluded(
    recipe: Recipe,
    sweep: SweepSpec,
    name: str,
    tried: Sequence[TriedPoint],
    surface: "Surface | None",
    optimum: "Optimum | None",
    weights: dict[str, float],
) -> Answer:
    """The answer of one objective: which settings are the best, and the baselines beside them."""
    spec = sweep.objectives[name]
    points = [one for one in tried if one.is_whole(name)]
    sign = 1 if spec.goal == "minimize" else -1
    means = [one.mean(name) or 0.0 for one in points]
    best = min(range(len(points)), key=lambda place: sign * means[place], default=None)
    told = Answer(
        name,
        spec,
        sweep.space,
        sweep.confidence,
        points,
        noise_of(points, name),
        surface,
        optimum,
        weights,
        best_tried=best,
        left_out=[one for one in tried if one.values(name) and not one.is_whole(name)],
    )
    if best is None:
        return told
    if told.has_skill and optimum is not None:
        mean = Interval(optimum.value, optimum.low, optimum.high)
        chosen = Chosen("surface", optimum.point, mean, _tried_at(told, optimum.point))
        alike: list[int] | None = list(optimum.indistinguishable)
    else:
        chosen = Chosen("tried", points[best].point, observed(told, best), best)
        alike = alike_by_seeds(points, best, name, told.noise, told.confidence)
    known = replace(told, chosen=chosen, alike=alike)
    return replace(known, baselines=_baselines(recipe, sweep, known))


def _barred(tried: Sequence[TriedPoint], name: str, allowed: Callable[[Settings], bool]) -> "Barred":
    """Where no figure is to be had: what no rule refuses was refused for want of tokens, say, which goes by regions."""
    from rcpt_ray.sweep.surface.candidates import Barred

    refused = [one.point for one in tried if one.ends == {"refused"}]
    stopped = [one.point for one in tried if "stopped" in one.ends and not one.is_whole(name)]
    return Barred(refused, [*stopped, *filter(allowed, refused)])


def observed(told: Answer, place: int) -> Interval:
    """A tried point's mean, with an interval by the spread between seeds over all points."""
    return mean_by_seeds(told.points[place], told.name, told.noise, told.confidence)


def _baselines(recipe: Recipe, sweep: SweepSpec, told: Answer) -> list[Baseline]:
    """The recipe's own settings, then equal shares, where the space has them and they differ."""
    own = own_point(recipe, sweep)
    wanted: dict[Literal["recipe", "stratified"], Settings | None] = {
        "recipe": own,
        "stratified": stratified_point(own, sweep.space) if own is not None else None,
    }
    found: dict[str, Baseline] = {}
    for role, point in wanted.items():
        point = next((one.point for one in told.points if role in one.roles), point)
        if point is not None:
            found.setdefault(place_of(point, sweep.space), _beside(told, role, point))
    return list(found.values())


def _beside(told: Answer, role: Literal["recipe", "stratified"], point: Settings) -> Baseline:
    chosen, tried = told.chosen, _tried_at(told, point)
    assert chosen is not None
    if place_of(point, told.space) == place_of(chosen.point, told.space):
        return Baseline(role, point, tried, chosen.mean, Interval(0.0), False, is_best=True)
    if chosen.by == "surface":
        assert told.surface is not None and told.optimum is not None
        mean_N, covariance_NN = told.surface.predict([chosen.point, point])
        quantile = student(told.confidence, told.surface.degrees)
        variance = covariance_NN[0][0] + covariance_NN[1][1] - 2 * covariance_NN[0][1]
        mean = within(float(mean_N[1]), quantile * math.sqrt(max(0.0, float(covariance_NN[1][1]))))
        apart = within(float(mean_N[1] - mean_N[0]), quantile * math.sqrt(max(0.0, float(variance))))
        return Baseline(role, point, tried, mean, apart, not told.optimum.holds(point))
    if tried is None:
        return Baseline(role, point, None, None, None, None)
    assert chosen.tried is not None
    apart = apart_by_seeds(told.points, tried, chosen.tried, told.name, told.noise, told.confidence)
    distinguishable = None if told.alike is None else tried not in told.alike
    return Baseline(role, point, tried, observed(told, tried), apart, distinguishable)


def _tried_at(told: Answer, point: Settings) -> int | None:
    wanted = place_of(point, told.space)
    places = (place for place, one in enumerate(told.points) if place_of(one.point, told.space) == wanted)
    return next(places, None)
