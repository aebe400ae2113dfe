"""How far a mean over items and seeds could move: both are drawn, and both are crossed (every seed meets every item).

    y_si = mean + seed_s + item_i + rest_si
    variance of the mean = item part + max(0, s2 / S - MS_rest / (S N)),  s2 the variance of the seeds' own means

The item part (of the items' means over seeds, divided by N) holds MS_rest / (S N) once already, so it is taken off the
seeds' part; below zero it counts as none. With a t quantile, degrees of freedom by Satterthwaite (Biometrics Bulletin
2, 1946), this is the analysis of crossed readers and cases: Dorfman, Berbaum, Metz (Investigative Radiology 27, 1992),
degrees of freedom as in Hillis (Statistics in Medicine 26, 2007). A bootstrap over 2 to 5 seeds would give intervals
that are too short: the variance of few numbers drawn from themselves is too small by (S - 1) / S, and it knows no t
quantile. With one seed the items' part is all that is known. Means are weighted; a weighted mean is a ratio, whose
variance is that of its linearisation (Cochran, Sampling Techniques, 1977, chapter 6).

In a difference of a line of one seed from a line of several, the latter's spread stands for both: its variance of one
seed, s2, counts 1 / 1 + 1 / S times, with its S - 1 degrees of freedom.

S seeds, N items, G groups. Price: a few passes over S x N numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rcpt_ray.report.statistics.measures import Floats, Groups


@dataclass(frozen=True)
class SeedSpread:
    """What the seeds of one line, two or more, say of each other."""

    means_SG: Floats
    noise_G: Floats
    """Part of the variance of the mean over seeds that the items' own noise makes: MS_rest / (S N)."""
    scale: float = 1.0
    """How much more the variance is where these seeds speak for another line's too."""

    @property
    def variances(self) -> Floats:
        """float64[G]: variance of the mean over seeds, with the items' noise in it."""
        variances_G: Floats = self.means_SG.var(axis=0, ddof=1) / len(self.means_SG)
        return self.scale * variances_G

    @property
    def noise(self) -> Floats:
        """float64[G]: the items' noise in the variances."""
        return self.scale * self.noise_G

    def also_for(self, num_seeds: int) -> "SeedSpread":
        """The same seeds as the measure of another line's too, whose mean is over `num_seeds`: both vary as they do."""
        return replace(self, scale=self.scale * (1.0 + len(self.means_SG) / num_seeds))


@dataclass(frozen=True)
class Pieces:
    """Means of G groups, or differences of two such, and what their variances are made of."""

    means_G: Floats
    item_variances_G: Floats
    """NaN where a group has fewer than two items."""
    item_freedom_G: Floats
    num_items_G: Floats
    seeds: Sequence[SeedSpread]
    """Of each line in it that has more than one seed."""

    @property
    def variances(self) -> Floats:
        """float64[G]: variances of the means over items and seeds."""
        return self.item_variances_G + sum(np.maximum(own.variances - own.noise, 0.0) for own in self.seeds)

    @property
    def freedom(self) -> Floats:
        """float64[G]: Satterthwaite's degrees of freedom of the variances."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = self.item_variances_G**2 / self.item_freedom_G
            terms = terms + sum(own.variances**2 / (len(own.means_SG) - 1) for own in self.seeds)
            return np.where(terms > 0, np.maximum(self.variances**2 / terms, 1.0), self.item_freedom_G)

    def contrast(self, plus: int, minus: int) -> "Pieces":
        """The mean of one group minus that of another, whose items are others, as Pieces of one group."""
        both = [plus, minus]
        variances, freedom = self.item_variances_G[both], self.item_freedom_G[both]
        with np.errstate(divide="ignore", invalid="ignore"):
            joint = variances.sum() ** 2 / (variances**2 / freedom).sum() if variances.any() else freedom.min()
        return Pieces(
            self.means_G[[plus]] - self.means_G[[minus]],
            np.array([variances.sum()]),
            np.array([joint]),
            np.array([self.num_items_G[both].sum()]),
            [
                SeedSpread(
                    own.means_SG[:, [plus]] - own.means_SG[:, [minus]],
                    own.noise_G[[plus]] + own.noise_G[[minus]],
                    own.scale,
                )
                for own in self.seeds
            ],
        )


def pieces_of(values_SN: Floats, weights_N: Floats, groups: Groups) -> Pieces:
    """Weighted means over the seeds and items of one line."""
    mean_N = values_SN.mean(axis=0)
    means_G = weighted_means(mean_N, weights_N, groups)
    num_items_G = groups.sums(np.ones(len(weights_N)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale_G = num_items_G / groups.sums(weights_N)
        residuals_N = groups.spread(scale_G) * weights_N * (mean_N - groups.spread(means_G))
        variances_G = groups.sums(residuals_N**2) / (num_items_G * (num_items_G - 1.0))
    variances_G = np.where(num_items_G > 1, variances_G, np.nan)
    return Pieces(means_G, variances_G, num_items_G - 1.0, num_items_G, spread_of_seeds(values_SN, weights_N, groups))


def spread_of_seeds(values_SN: Floats, weights_N: Floats, groups: Groups) -> list[SeedSpread]:
    """How the seeds of one line differ, by group; nothing with one seed."""
    num_seeds = len(values_SN)
    if num_seeds < 2:
        return []
    means_SG = np.stack([weighted_means(values_N, weights_N, groups) for values_N in values_SN])
    num_items_G = groups.sums(np.ones(len(weights_N)))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale_N = groups.spread(num_items_G / groups.sums(weights_N)) * weights_N
        about_SN = np.stack(
            [scale_N * (own_N - groups.spread(means_G)) for own_N, means_G in zip(values_SN, means_SG, strict=True)]
        )
        squares_G = groups.sums(((about_SN - about_SN.mean(axis=0)) ** 2).sum(axis=0))
        noise_G = squares_G / ((num_seeds - 1.0) * (num_items_G - 1.0)) / (num_seeds * num_items_G)
    return [SeedSpread(means_SG, np.where(num_items_G > 1, noise_G, 0.0))]


def weighted_means(values_N: Floats, weights_N: Floats, groups: Groups) -> Floats:
    """float64[G]: sum of weight times value over sum of weights; NaN for a group without items."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return groups.sums(weights_N * values_N) / groups.sums(weights_N)
