"""The response surface of one objective: what to expect anywhere in the space, how surely, and how far it is known.

Regression on many small runs, as RegMix (Liu et al. 2024, arXiv 2407.01492) proposes for mixtures, over mixtures,
numbers and names alike. Its skill is measured by leaving out whole measurements, all seeds and all points of one
together, so neither seeds that agree nor settings that make no difference flatter it. One kind of model serves all:
choosing among planes, quadratics and processes by cross-validation, the simplest unless clearly worse, missed the
optimum of a bump four times in ten where one in ten was allowed (15 points), since a plane that errs evenly looks as
good as anything.

Price: with 50 points 0.1 s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rcpt_ray.sweep.space import Floats, Settings
from rcpt_ray.sweep.spec import Axis
from rcpt_ray.sweep.surface.features import Position, coordinate_of_columns, features_at, features_of
from rcpt_ray.sweep.surface.process import Process, Sample

MIN_MEASURED = 3
"""Two measurements make a line through anything, and leave nothing to be wrong by."""


@dataclass(frozen=True)
class Observations:
    """What was measured."""

    points: list[Settings]
    """Distinct."""
    values: list[list[float]]
    """Of each measurement, one a training; at least one."""
    places: list[list[int]] | None = None
    """Of each measurement its points; None where each point has its own."""

    @property
    def places_of_measured(self) -> list[list[int]]:
        """Of each measurement its points."""
        return [[place] for place in range(len(self.points))] if self.places is None else self.places


@dataclass(frozen=True)
class Surface:
    """A fitted surface; responses are in the unit of the objective.

    N points, M other points, K tried points, G measurements
    """

    kind: str
    """The model, in words."""
    num_points: int
    num_measured: int
    """Measurements; fewer than points where several of those stand on the same trainings."""
    num_trainings: int
    cv_error: float
    """Root mean square of what a measurement's mean is less what the others predict of it."""
    cv_skill: float
    """1 - cv_error^2 / the same error of predicting by the mean of the others; at 0 or below it predicts nothing."""
    noise: float | None
    """Standard deviation between seeds of one measurement; None where none has two."""
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
    """The surface through what was measured; None with fewer than three measurements.

    The same seed gives the same surface.
    """
    places, num_measured = observations.places_of_measured, len(observations.values)
    if num_measured < MIN_MEASURED:
        return None
    share_GK = np.array([[(place in own) / len(own) for place in range(len(observations.points))] for own in places])
    mean_G = np.array([np.mean(values) for values in observations.values])
    count_G = np.array([float(len(values)) for values in observations.values])
    within = float(sum(np.square(np.subtract(values, np.mean(values))).sum() for values in observations.values))
    num_trainings = int(count_G.sum())
    middle, apart = float(mean_G.mean()), float(mean_G.std())
    unit = (apart**2 + within / num_trainings) ** 0.5
    process = None
    # Values that differ by rounding alone are equal: their differences say nothing.
    if unit > 1e-12 * max(map(abs, mean_G)):
        features_KF, columns = features_of(observations.points, space), coordinate_of_columns(space)
        scaled = Sample(features_KF, share_GK, columns, (mean_G - middle) / unit, count_G, within / unit**2)
        process = Process(scaled, seed)
    error = 0.0 if process is None else unit * float(np.sqrt(np.mean(process.left_out_G**2)))
    # What a measurement's mean is less the mean of the others is this much more than less the mean of all.
    plain = apart * num_measured / (num_measured - 1)
    return Surface(
        kind="one value everywhere" if process is None else "Gaussian process, averaged over how smooth it may be",
        num_points=len(observations.points),
        num_measured=num_measured,
        num_trainings=num_trainings,
        cv_error=error,
        cv_skill=1 - (error / plain) ** 2 if process is not None and plain > 0 else 0.0,
        noise=(within / (num_trainings - num_measured)) ** 0.5 if num_trainings > num_measured else None,
        degrees=num_trainings - 1,
        space=space,
        middle=middle,
        unit=unit,
        process=process,
    )
