"""The tried points of a sweep: trials of equal settings together, over their seeds; and what they measured.

    results -> points (equal settings) -> measurements (points that stand on the same trainings)

Invariants: every result belongs to exactly one point, and every whole point to exactly one measurement; a point is
whole where all its trials have a finite figure, for the seeds that are left when others fell behind are the lucky ones;
the spread between seeds is taken from all measurements together, for two seeds of one point say next to nothing.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from rcpt_ray.artifacts import canonical_json
from rcpt_ray.sweep.result import Role, TrialResult
from rcpt_ray.sweep.space import Settings, position_of
from rcpt_ray.sweep.spec import Axis, ObjectiveSpec

STATUSES: tuple[str, ...] = get_args(TrialResult.model_fields["status"].annotation)
"""How a trial may have ended, the best first."""


@dataclass(frozen=True)
class TriedPoint:
    """One point of the space and its trials, one a seed."""

    point: Settings
    trials: list[TrialResult]

    @property
    def number(self) -> int:
        """Of the first of its trials, in the order in which points were asked for."""
        return min(result.trial.number for result in self.trials)

    @property
    def roles(self) -> set[Role]:
        """Why it was tried; a point may be asked for more than once."""
        return {result.trial.role for result in self.trials}

    @property
    def ok(self) -> list[TrialResult]:
        """The trials that ended well."""
        return [result for result in self.trials if result.status == "ok"]

    @property
    def ends(self) -> set[str]:
        """How its trials have ended."""
        return {result.status for result in self.trials}

    @property
    def num_tokens(self) -> list[int]:
        """Tokens of its trials' mixtures, where they are known."""
        return [result.num_tokens for result in self.trials if result.num_tokens is not None]

    def values(self, objective: str) -> list[float]:
        """Figures of the trials that have one, a seed each."""
        return [value for result in self.ok if math.isfinite(value := result.objectives.get(objective, math.nan))]

    def is_whole(self, objective: str) -> bool:
        """Whether every one of its trials has a figure."""
        return len(self.values(objective)) == len(self.trials)

    def trainings(self, objective: str) -> dict[str, float]:
        """Figures by what they were measured on: trials of one evaluation are one."""
        told: dict[str, float] = {}
        for result in self.ok:
            value = result.objectives.get(objective, math.nan)
            evaluation = result.stages.get("evaluation")
            if math.isfinite(value):
                told.setdefault(result.trial.name if evaluation is None else evaluation.fingerprint, value)
        return told

    def mean(self, objective: str) -> float | None:
        """Over the seeds; None without a figure."""
        values = self.trainings(objective).values()
        return statistics.fmean(values) if values else None

    def standard_error(self, objective: str) -> float | None:
        """Of the mean, from these seeds alone; None with fewer than two."""
        values = list(self.trainings(objective).values())
        return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def tried_points(results: Sequence[TrialResult], space: Mapping[str, Axis]) -> list[TriedPoint]:
    """All points in the order in which they were first asked for."""
    found: dict[str, TriedPoint] = {}
    for result in sorted(results, key=lambda one: (one.trial.number, one.trial.seed)):
        point = result.trial.point
        found.setdefault(place_of(point, space), TriedPoint(point, [])).trials.append(result)
    return list(found.values())


def place_of(point: Settings, space: Mapping[str, Axis]) -> str:
    """Equal text for points at the same place: shares of nought may be named or left out, 1 and 1.0 are equal."""
    return canonical_json(position_of(point, space))


@dataclass(frozen=True)
class Measurement:
    """Points that stand on the same trainings, such as a share of 0 thoughts of any length."""

    places: list[int]
    """Of the points, among those that were asked about."""
    values: list[float]
    """One a training."""


def measurements_of(points: Sequence[TriedPoint], objective: str) -> list[Measurement]:
    """What whole points measured, in their order; points that have a training in common are of one measurement."""
    found: list[tuple[list[int], dict[str, float]]] = []
    for place, point in enumerate(points):
        places, values = [place], point.trainings(objective)
        for other in [one for one in found if one[1].keys() & values.keys()]:
            found.remove(other)
            places, values = other[0] + places, other[1] | values
        found.append((sorted(places), values))
    return [Measurement(places, list(values.values())) for places, values in sorted(found, key=lambda one: one[0])]


@dataclass(frozen=True)
class Noise:
    """Spread between seeds of one measurement, over all measurements."""

    deviation: float
    """Standard deviation of one training."""
    freedom: int
    """Trainings beyond the first of each measurement."""


def noise_of(points: Sequence[TriedPoint], objective: str) -> Noise | None:
    """The pooled spread between seeds; None where nothing was measured with two."""
    several = [one.values for one in measurements_of(points, objective) if len(one.values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    if not freedom:
        return None
    squares = sum((len(values) - 1) * statistics.variance(values) for values in several)
    return Noise(math.sqrt(squares / freedom), freedom)


def front_of(points: Sequence[TriedPoint], objectives: Mapping[str, ObjectiveSpec]) -> list[int]:
    """Places of the points that no other point is as good as in all objectives and better in one (by their means)."""
    rows = {place: row for place, one in enumerate(points) if (row := _losses(one, objectives)) is not None}
    return [
        place
        for place, row in rows.items()
        if not any(other != row and all(a <= b for a, b in zip(other, row, strict=True)) for other in rows.values())
    ]


def _losses(point: TriedPoint, objectives: Mapping[str, ObjectiveSpec]) -> list[float] | None:
    """Its means, less being better in each; None where a trial has no figure."""
    row = []
    for name, spec in objectives.items():
        mean = point.mean(name)
        if mean is None or not point.is_whole(name):
            return None
        row.append(mean if spec.goal == "minimize" else -mean)
    return row
