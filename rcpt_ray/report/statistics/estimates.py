"""Figures with their standard errors and intervals, made of the pieces of `seeds`.

A mean's interval is value ± t x standard error; a share's is Wilson's (JASA 22, 1927) with the effective number of
items that its variance speaks of, so that it ends at 0 and 1 and a share of 0 still has an upper end. A difference has
a two-sided p value of the same t. Nothing is said (None) where fewer than two items were seen.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from rcpt_ray.report.statistics.measures import Floats
from rcpt_ray.report.statistics.seeds import Pieces

CONFIDENCE: Final = 0.95
INSIDE_THE_NOISE: Final = "inside the noise"


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error and 95% interval; these are None where they are not known."""

    value: float
    standard_error: float | None
    low: float | None
    high: float | None
    num_items: int
    num_seeds: int = 1
    """With one seed the interval covers the choice of items alone."""

    def may_be(self, value: float) -> bool:
        """Whether the interval contains `value`; without an interval anything may be."""
        if self.low is None or self.high is None or math.isnan(self.low) or math.isnan(self.high):
            return True
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Difference(Estimate):
    """An estimate of a difference."""

    p_value: float | None = None
    """Two-sided, of this comparison alone; None where no interval is known."""
    adjusted_p: float | None = None
    """After correction for all comparisons of its table; None before."""

    @property
    def verdict(self) -> str:
        """What the difference may be called, after correction where there was one."""
        p_value = self.p_value if self.adjusted_p is None else self.adjusted_p
        if p_value is None or p_value >= 1 - CONFIDENCE or math.isnan(self.value):
            return INSIDE_THE_NOISE
        return "higher" if self.value > 0 else "lower"


def estimates(pieces: Pieces, is_share: bool, num_seeds: int) -> list[Estimate]:
    """The mean of each group."""
    error_G, freedom_G = np.sqrt(pieces.variances), pieces.freedom
    if is_share:
        # With one seed the binomial law itself is known, so its quantile is the normal one, as in Wilson's paper.
        quantile_G = _quantiles(freedom_G if pieces.seeds else np.full_like(freedom_G, np.inf))
        low_G, high_G = _wilson(pieces.means_G, pieces.variances, pieces.num_items_G, quantile_G)
    else:
        margin_G = _quantiles(freedom_G) * error_G
        low_G, high_G = pieces.means_G - margin_G, pieces.means_G + margin_G
    return [
        Estimate(*_known(value, error, low, high), int(number), num_seeds)
        for value, error, low, high, number in zip(
            pieces.means_G, error_G, low_G, high_G, pieces.num_items_G, strict=True
        )
    ]


def differences(pieces: Pieces, is_share: bool, num_seeds: int) -> list[Difference]:
    """The difference of each group.

    Where all items differ by the same amount, other than none, their spread says nothing. For shares, pseudo-items of
    +1 and -1 are then added (Bonett and Price, J. Educ. Behav. Stat. 37, 2012: 4 / (N + 2)^2 for N equal differences
    of 1, to the first order); for other figures nothing is known.
    """
    variances_G = pieces.variances
    mute_G = (variances_G == 0) & (pieces.means_G != 0)
    variances_G = np.where(mute_G, 4.0 / (pieces.num_items_G + 2.0) ** 2 if is_share else np.nan, variances_G)
    error_G, freedom_G = np.sqrt(variances_G), pieces.freedom
    margin_G = _quantiles(freedom_G) * error_G
    with np.errstate(divide="ignore", invalid="ignore"):
        p_G = np.where(
            error_G > 0,
            2.0 * stats.t.sf(np.abs(pieces.means_G) / error_G, freedom_G),
            np.where(error_G == 0, 1.0, np.nan),
        )
    return [
        Difference(
            *_known(value, error, value - margin, value + margin),
            int(number),
            num_seeds,
            None if math.isnan(p_value) else float(p_value),
        )
        for value, error, margin, number, p_value in zip(
            pieces.means_G, error_G, margin_G, pieces.num_items_G, p_G, strict=True
        )
    ]


def _quantiles(freedom_G: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom_G), np.float64)


def _wilson(share_G: Floats, variance_G: Floats, number_G: Floats, quantile_G: Floats) -> tuple[Floats, Floats]:
    """Wilson's interval with 1 + p (1 - p) / variance items; for zeros and ones of one seed this is their number.

    Example: 10 right of 40 give 0.142 to 0.402.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        effective_G = 1.0 + share_G * (1.0 - share_G) / variance_G
        effective_G = np.where(variance_G > 0, effective_G, number_G)
        square_G = quantile_G**2 / effective_G
        middle_G = (share_G + square_G / 2) / (1 + square_G)
        margin_G = np.sqrt(np.maximum(square_G * (share_G * (1 - share_G) + square_G / 4), 0.0)) / (1 + square_G)
    return np.maximum(middle_G - margin_G, 0.0), np.minimum(middle_G + margin_G, 1.0)


def _known(value: float, *bounds: float) -> tuple[float, float | None, float | None, float | None]:
    """Value, standard error, low, high; the last three are None unless all are numbers."""
    error, low, high = (float(bound) for bound in bounds)
    if not all(map(math.isfinite, (error, low, high))):
        return float(value), None, None, None
    return float(value), error, low, high
