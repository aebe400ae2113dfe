"""What the seeds alone say of tried points, without a surface: means, differences, and which are alike.

Means have t intervals by the spread between seeds over all points. Differences from the best are Tukey's and Kramer's
(Kramer 1956, doi:10.2307/3001469): any two of the points may be looked at, so the best of many, which is best by luck
too, is compared fairly. Points that stand on the same trainings are one, and apart by nothing. Nothing is said (None)
where no point has two seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rcpt_ray.sweep.tried import Noise, TriedPoint, measurements_of


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its interval, None where they are not known."""

    value: float
    low: float | None = None
    high: float | None = None


def within(value: float, margin: float) -> Interval:
    """From `margin` below the value to `margin` above it."""
    return Interval(value, value - margin, value + margin)


def mean_by_seeds(point: TriedPoint, objective: str, noise: Noise | None, confidence: float) -> Interval:
    """The mean of a point that has a figure."""
    values = point.trainings(objective).values()
    mean = math.fsum(values) / len(values)
    if noise is None:
        return Interval(mean)
    return within(mean, student(confidence, noise.freedom) * noise.deviation / math.sqrt(len(values)))


def apart_by_seeds(
    points: Sequence[TriedPoint], place: int, best: int, objective: str, noise: Noise | None, confidence: float
) -> Interval:
    """The mean of a point less that of the best one."""
    own, other = (points[one].trainings(objective) for one in (place, best))
    value = math.fsum(own.values()) / len(own) - math.fsum(other.values()) / len(other)
    if noise is None:
        return Interval(value)
    if own.keys() == other.keys():
        return within(value, 0.0)
    quantile = _range_quantile(confidence, len(measurements_of(points, objective)), noise.freedom)
    return within(value, quantile * noise.deviation * math.sqrt((1 / len(own) + 1 / len(other)) / 2))


def alike_by_seeds(
    points: Sequence[TriedPoint], best: int, objective: str, noise: Noise | None, confidence: float
) -> list[int] | None:
    """Places of the points whose mean is not apart from the best one's, itself among them."""
    if noise is None:
        return None
    alike = []
    for place in range(len(points)):
        apart = apart_by_seeds(points, place, best, objective, noise, confidence)
        if apart.low is None or apart.high is None or apart.low <= 0 <= apart.high:
            alike.append(place)
    return alike


def student(confidence: float, freedom: int) -> float:
    """The two-sided quantile of t."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, freedom))


@cache
def _range_quantile(confidence: float, number: int, freedom: int) -> float:
    """Of the studentized range; kept, because scipy integrates for it."""
    from scipy import stats

    return float(stats.studentized_range.ppf(confidence, max(2, number), freedom))
