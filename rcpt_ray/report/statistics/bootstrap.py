"""The paired bootstrap of differences: items are drawn with replacement, all lines keep an item together.

    counts_DN: how often draw d has item n;  mean of draw d = counts @ (weight x difference) / counts @ weight

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 5 to 7. One matrix product serves all K
differences at once. What makes an item hard for both lines cancels out in its difference; an item is drawn with its
weight. The variance over draws is that of N - 1 in N degrees, so it is stretched by N / (N - 1).

D draws, K differences, N items, G groups. Price: D x N counts and 4 D N K operations: 0.3 s for 14,000 items, 24
differences and 2,000 draws on 2 cores.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from rcpt_ray.report.statistics.measures import Bools, Floats, Groups

NUM_RESAMPLES: Final = 2000
_COUNTS_IN_MEMORY: Final = 4_000_000
_COUNTS_IN_CACHE: Final = 16_384


def bootstrap_variances(
    differences_KN: Floats, present_KN: Bools, weights_N: Floats, groups: Groups, seed: int
) -> Floats:
    """float64[K, G]: variances of weighted means of differences in each group; NaN with fewer than two items.

    A group's draws depend on the seed and the number of its items alone.
    """
    variances_KG = np.full((len(differences_KN), len(groups.names)), np.nan)
    for group in range(len(groups.names)):
        inside = np.flatnonzero(groups.codes_N == group)
        present_Kn = present_KN[:, inside]
        num_K = present_Kn.sum(axis=1)
        weighed_nK = np.where(present_Kn, weights_N[inside], 0.0).T
        products_nK = np.where(weighed_nK > 0, weighed_nK * differences_KN[:, inside].T, 0.0)
        drawn_DK = _draw_means(products_nK, weighed_nK, np.random.default_rng([seed, len(inside)]))
        num_drawn_K = np.isfinite(drawn_DK).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            about_DK = drawn_DK - np.nansum(drawn_DK, axis=0) / num_drawn_K
            stretched_K = np.nansum(about_DK**2, axis=0) / (num_drawn_K - 1.0) * num_K / (num_K - 1.0)
        # What does not differ between items has no variance, also after rounding.
        constant_K = np.ptp(np.where(present_Kn, differences_KN[:, inside], np.nan), axis=1) == 0 if len(inside) else 0
        variances_KG[:, group] = np.where(num_K > 1, np.where(constant_K, 0.0, stretched_K), np.nan)
    return variances_KG


def _draw_means(products_nK: Floats, weights_nK: Floats, rng: np.random.Generator) -> Floats:
    """Means of NUM_RESAMPLES draws; a draw without any weight is NaN."""
    num_items, num_differences = products_nK.shape
    means_DK = np.full((NUM_RESAMPLES, num_differences), np.nan)
    if num_items < 2:
        return means_DK
    # The differences share few sets of items, mostly one.
    weights_nM, which_K = np.unique(weights_nK, axis=1, return_inverse=True)
    at_once = max(1, _COUNTS_IN_MEMORY // num_items)
    for first in range(0, NUM_RESAMPLES, at_once):
        counts_dn = _counts(min(at_once, NUM_RESAMPLES - first), num_items, rng)
        with np.errstate(invalid="ignore", divide="ignore"):
            means_DK[first : first + len(counts_dn)] = (counts_dn @ products_nK) / (counts_dn @ weights_nM)[:, which_K]
    return means_DK


def _counts(num_draws: int, num_items: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """float64[d, n]: how often each of n items stands in each draw of n items."""
    counts_dn = np.empty((num_draws, num_items))
    # In blocks whose counts stay in the cache: 2.5 times as fast as all at once.
    at_once = max(1, _COUNTS_IN_CACHE // num_items)
    for first in range(0, num_draws, at_once):
        block_dn = counts_dn[first : first + at_once]
        drawn_dn = rng.integers(0, num_items, block_dn.shape) + num_items * np.arange(len(block_dn))[:, None]
        block_dn[:] = np.bincount(drawn_dn.ravel(), minlength=block_dn.size).reshape(block_dn.shape)
    return counts_dn
