"""Which settings may be the best: a confidence region for the optimum of a surface.

    N points that are asked about, M rivals, D draws

A point is outside if some rival is better than it, beyond what the errors of all their differences may do at once:

    inside(x)  =  max over rivals r of (mean(r) - mean(x)) / deviation(r - x)  <=  c(x)

c(x) is the quantile of the same maximum for draws of the errors alone, so the true best is inside at least as often as
the confidence says, whatever the response is; where all is alike, any point is inside as often (multiple comparisons
with the best, Hsu 1981; for response surfaces Peterson, Cahya and del Castillo 2002,
doi:10.1111/j.0006-341X.2002.00422.x). It holds as far as the surface does.

Price: 256 rivals and 1,000 draws, 0.5 ms for each point in doubt; most are decided by bounds of c(x) without draws.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from rcpt_ray.sweep.space import Floats, Settings
from rcpt_ray.sweep.surface.fit import Surface

Goal = Literal["minimize", "maximize"]
_NUM_DRAWS = 1000
# A rival whose difference varies less than this share of the largest variance is the point itself.
_SAME = 1e-6


class Region:
    """The settings that may be the best."""

    def __init__(self, surface: Surface, rivals: Sequence[Settings], goal: Goal, confidence: float, seed: int) -> None:
        """Compare with rivals, members of the space that cover it; the best of them, as far as is known, among them."""
        self._surface = surface
        self._rivals = rivals
        self._sign = 1 if goal == "maximize" else -1
        self._confidence = confidence
        self._seed = seed
        mean_M, self._variance_M, covariance_MM = surface.joint(rivals, rivals)
        self._better_M = self._sign * mean_M
        value_M, vector_MM = np.linalg.eigh(covariance_MM)
        real_M = value_M > 1e-10 * max(value_M[-1], np.finfo(float).tiny)
        self._root_MR: Floats = vector_MM[:, real_M] * np.sqrt(value_M[real_M])
        self._inverse_root_MR: Floats = vector_MM[:, real_M] / np.sqrt(value_M[real_M])

    def holds(self, points: Sequence[Settings]) -> npt.NDArray[np.bool_]:
        """holds_N: whether each of the points may be the best. An answer does not depend on what else is asked."""
        from scipy.stats import t as student

        mean_N, variance_N, covariance_NM = self._surface.joint(points, self._rivals)
        better_N = self._sign * mean_N
        apart_NM = variance_N[:, None] + self._variance_M - 2 * covariance_NM
        is_other_NM = apart_NM > _SAME * max(self._variance_M.max(), np.finfo(float).tiny)
        deviation_NM = np.sqrt(np.where(is_other_NM, apart_NM, np.inf))
        behind_N = ((self._better_M - better_N[:, None]) / deviation_NM).max(1)
        # c(x) lies between the bound for one rival and Bonferroni's for all.
        doubt = 1 - self._confidence
        holds_N: npt.NDArray[np.bool_] = behind_N <= student.isf(doubt, self._surface.degrees)
        open_N = ~holds_N & (behind_N <= student.isf(doubt / len(self._rivals), self._surface.degrees))
        normal_DR, own_D, scale_D = self._normal
        for number in np.flatnonzero(open_N):
            told_R = covariance_NM[number] @ self._inverse_root_MR
            own = max(variance_N[number] - told_R @ told_R, 0) ** 0.5
            error_DM = self._errors - (scale_D * (normal_DR @ told_R + own * own_D))[:, None]
            most_D = (error_DM / deviation_NM[number]).max(1)
            holds_N[number] = behind_N[number] <= np.quantile(most_D, self._confidence)
        return holds_N

    @property
    def width(self) -> float:
        """How many deviations about the mean hold the response of all rivals at once at the confidence."""
        known_M = self._variance_M > 0
        if not known_M.any():
            return 0.0
        most_D = (np.abs(self._errors[:, known_M]) / np.sqrt(self._variance_M[known_M])).max(1)
        return float(np.quantile(most_D, self._confidence))

    @cached_property
    def _normal(self) -> tuple[Floats, Floats, Floats]:
        generator = np.random.default_rng(self._seed)
        degrees = self._surface.degrees
        return (
            generator.standard_normal((_NUM_DRAWS, self._root_MR.shape[1])),
            generator.standard_normal(_NUM_DRAWS),
            np.sqrt(degrees / generator.chisquare(degrees, _NUM_DRAWS)),
        )

    @cached_property
    def _errors(self) -> Floats:
        normal_DR, _, scale_D = self._normal
        return scale_D[:, None] * (normal_DR @ self._root_MR.T)
