"""The tried points of a sweep: trials of equal settings together, over their seeds.

Invariants: every result belongs to exactly one point; a mean is over the trials that ended well and have a finite
figure; the spread between seeds is taken from all points together, for two seeds of one point say next to nothing.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rcpt_ray.artifacts import canonical_json
from rcpt_ray.sweep.result import Role, TrialResult
from rcpt_ray.sweep.space import Settings, position_of
from rcpt_ray.sweep.spec import Axis, ObjectiveSpec


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
    def num_tokens(self) -> list[int]:
        """Tokens of its trials' mixtures, where they are known."""
        return [result.num_tokens for result in self.trials if result.num_tokens is not None]

    def values(self, objective: str) -> list[float]:
        """Figures of the trials that have one, a seed each."""
        return [value for result in self.ok if math.isfinite(value := result.objectives.get(objective, math.nan))]

    def mean(self, objective: str) -> float | None:
        """Over the seeds; None without a figure."""
        values = self.values(objective)
        return statistics.fmean(values) if values else None

    def standard_error(self, objective: str) -> float | None:
        """Of the mean, from these seeds alone; None with fewer than two."""
        values = self.values(objective)
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
class Noise:
    """Spread between seeds of one point, over all points."""

    deviation: float
    """Standard deviation of one trial."""
    freedom: int
    """Trials beyond the first of each point."""


def noise_of(points: Sequence[TriedPoint], objective: str) -> Noise | None:
    """The pooled spread between seeds; None where no point has two."""
    several = [values for one in points if len(values := one.values(objective)) > 1]
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
    """Its means, less being better in each; None where one is missing."""
    row = []
    for name, spec in objectives.items():
        mean = point.mean(name)
        if mean is None:
            return None
        row.append(mean if spec.goal == "minimize" else -mean)
    return row
