"""The response surface of one objective: what to expect anywhere in the space, how surely, and how far it is known.

Regression on many small runs, as RegMix (Liu et al. 2024, arXiv 2407.01492) proposes for mixtures, over mixtures,
numbers and names alike. Its skill is measured by leaving out whole points, all seeds of a point together, so seeds that
agree never flatter it. One kind of model serves all: choosing among planes, quadratics and processes by
cross-validation, the simplest unless clearly worse, missed the optimum of a bump four times in ten where one in ten was
allowed (15 points), since a plane that errs evenly looks as good as anything.

Price: with 50 points 0.1 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcpt_ray.sweep.space import Floats, Settings
from rcpt_ray.sweep.spec import Axis
from rcpt_ray.sweep.surface.features import Position, coordinate_of_columns, features_at, features_of
from rcpt_ray.sweep.surface.process import Process, Sample

MIN_POINTS = 3
"""Two points make a line through anything, and leave nothing to be wrong by."""


@dataclass(frozen=True)
class Observations:
    """What was measured."""

    points: list[Settings]
    """Distinct."""
    values: list[list[float]]
    """Of each point, one a seed; at least one."""


@dataclass(frozen=True)
class Surface:
    """A fitted surface; responses are in the unit of the objective.

    N points, M other points
    """

    kind: str
    """The model, in words."""
    num_points: int
    num_trials: int
    cv_error: float
    """Root mean square of what a point's mean is less what the other points predict of it."""
    cv_skill: float
    """1 - cv_error^2 / the same error of predicting by the mean of the others; at 0 or below it predicts nothing."""
    noise: float | None
    """Standard deviation between seeds of one point; None where no point has two."""
    degrees: int
    """Of freedom of the t distribution of the responses."""
    space: Mapping[str, Axis]
    middle: float
    unit: float
    process: Process | None
    """Of (values - middle) / unit; None where all values are equal."""

    def predict(self, points: Sequence[Settings]) -> tuple[Floats, Floats]:
        """(mean_N, covariance_NN) of the mean response, without noise; scale matrix of a t distribution."""
        mean_N, _, covariance_NN = self.joint(points, points)
        return mean_N, covariance_NN

    def joint(self, points: Sequence[Settings], others: Sequence[Settings]) -> tuple[Floats, Floats, Floats]:
        """(mean_N, variance_N, covariance_NM with others): what is needed of predict(points + others), for less."""
        return self._joint(features_of(points, self.space), features_of(others, self.space))

    def means(self, points: Sequence[Settings]) -> Floats:
        """mean_N of the response."""
        return self.joint(points, [])[0]

    def at(self, positions: Sequence[Position]) -> tuple[Floats, Floats]:
        """(mean_N, deviation_N) at positions, each for itself."""
        mean_N, variance_N, _ = self._joint(features_at(positions, self.space), features_at([], self.space))
        return mean_N, np.sqrt(variance_N)

    def _joint(self, features_NF: Floats, features_MF: Floats) -> tuple[Floats, Floats, Floats]:
        if self.process is None:
            nothing_NM = np.zeros((len(features_NF), len(features_MF)))
            return np.full(len(features_NF), self.middle), np.zeros(len(features_NF)), nothing_NM
        mean_N, variance_N, covariance_NM = self.process.joint(features_NF, features_MF)
        return self.middle + self.unit * mean_N, self.unit**2 * variance_N, self.unit**2 * covariance_NM


def fit_surface(space: Mapping[str, Axis], observations: Observations, seed: int) -> Surface | None:
    """The surface through what was measured; None with fewer than three points.

    The same seed gives the same surface.
    """
    num_points = len(observations.points)
    if num_points < MIN_POINTS:
        return None
    mean_N = np.array([np.mean(values) for values in observations.values])
    count_N = np.array([float(len(values)) for values in observations.values])
    within = float(sum(np.square(np.subtract(values, np.mean(values))).sum() for values in observations.values))
    num_trials = int(count_N.sum())
    middle, apart = float(mean_N.mean()), float(mean_N.std())
    unit = (apart**2 + within / num_trials) ** 0.5
    process = None
    # Values that differ by rounding alone are equal: their differences say nothing.
    if unit > 1e-12 * max(map(abs, mean_N)):
        features_NF = features_of(observations.points, space)
        scaled = Sample(features_NF, coordinate_of_columns(space), (mean_N - middle) / unit, count_N, within / unit**2)
        process = Process(scaled, seed)
    error = 0.0 if process is None else unit * float(np.sqrt(np.mean(process.left_out_N**2)))
    # What a point's mean is less the mean of the others is this much more than less the mean of all.
    plain = apart * num_points / (num_points - 1)
    return Surface(
        kind="one value everywhere" if process is None else "Gaussian process, averaged over how smooth it may be",
        num_points=num_points,
        num_trials=num_trials,
        cv_error=error,
        cv_skill=1 - (error / plain) ** 2 if process is not None and plain > 0 else 0.0,
        noise=(within / (num_trials - num_points)) ** 0.5 if num_trials > num_points else None,
        degrees=num_trials - 1,
        space=space,
        middle=middle,
        unit=unit,
        process=process,
    )
