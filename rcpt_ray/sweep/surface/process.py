"""A Gaussian process whose smoothness is not chosen but averaged over.

    N, M, K points (K the tried ones), F columns, C coordinates, S settings of smoothness

    mean of a point's values = level + slope . x + curve(x) + what the point has for itself + noise of seeds

Curve is a Gaussian process (squared exponential, one length scale a coordinate), slope a normal vector: with long
length scales this is a polynomial, with short ones it bends. Given the ratios of the variances, level and overall scale
have their posterior in closed form, a t distribution (universal kriging; Santner, Williams and Notz 2018, ch. 4).
Length scales and ratios are drawn from wide priors (512, a Sobol sequence) and weighed by the likelihood of the values
and of the spread between seeds; 48 of them are kept by resampling. The one likeliest setting, which
sklearn's GaussianProcessRegressor takes, is too sure of itself with 10 to 20 points; the average is less so, it has no
optimiser that may fail to converge, and leaving out a point costs no refit (Dubrule 1983).

What a point has for itself (thoughts drawn once for all its seeds, say) counts as noise: it is no part of the response.

Price: 512 inversions of N x N: 0.03 s with 15 points, 0.1 s with 50.
"""

from dataclasses import dataclass, fields

import numpy as np

from rcpt_ray.sweep.space import Floats

_NUM_DRAWN = 512
_NUM_KEPT = 48
_JITTER = 1e-9
# Medians and standard deviations of logarithms. Axes are 2 long; variances are in units of the curve's variance.
_LENGTH, _SLOPE, _POINT_NOISE, _SEED_NOISE = (0.5, 0.8), (-1.0, 1.5), (-4.0, 2.0), (-2.0, 2.0)


@dataclass(frozen=True)
class Smoothness:
    """S settings of a process."""

    lengths_SC: Floats
    slope_S: Floats
    """Variance of the slope along a column."""
    point_noise_S: Floats
    """Variance of what a point has for itself, the same for all its seeds."""
    seed_noise_S: Floats
    """Variance between the seeds of a point."""

    def __getitem__(self, kept: slice | Floats) -> "Smoothness":
        return Smoothness(*(getattr(self, field.name)[kept] for field in fields(self)))


@dataclass(frozen=True)
class Sample:
    """What the process is fitted to, in any unit."""

    features_NF: Floats
    coordinate_F: list[int]
    """Columns of one coordinate share a length scale."""
    mean_N: Floats
    """Of a point's values."""
    count_N: Floats
    """Of a point's values."""
    squares_within: float
    """Squared differences of values from their point's mean, summed."""

    @property
    def degrees(self) -> int:
        """Of freedom: values less one for the level."""
        return int(self.count_N.sum()) - 1

    def process_covariance(self, X_NF: Floats, Y_MF: Floats, smooth: Smoothness) -> Floats:
        """covariance_SNM of slope and curve, in units of the curve's variance."""
        apart_NMF = np.square(X_NF[:, None] - Y_MF[None])
        distance_SNM = np.tensordot(smooth.lengths_SC[:, self.coordinate_F] ** -2, apart_NMF, axes=(1, 2))
        curve_SNM: Floats = np.exp(-0.5 * distance_SNM)
        return curve_SNM + smooth.slope_S[:, None, None] * (X_NF @ Y_MF.T)

    def whole_covariance(self, smooth: Smoothness) -> Floats:
        """covariance_SNN of the points' means."""
        noise_SN = smooth.point_noise_S[:, None] + smooth.seed_noise_S[:, None] / self.count_N + _JITTER
        own = np.eye(len(self.mean_N))
        return self.process_covariance(self.features_NF, self.features_NF, smooth) + noise_SN[:, :, None] * own


class Process:
    """The fitted average.

    Attributes:
        left_out_N: What the points' means are less what is predicted of each from the others.
    """

    def __init__(self, sample: Sample, seed: int) -> None:
        """Fit.

        Args:
            sample: At least two points, of which the means differ.
            seed: Of the settings that are tried.
        """
        self._sample = sample
        num_points = len(sample.mean_N)
        drawn = _draw(1 + max(sample.coordinate_F), seed)
        at_once = max(1, 2**21 // num_points**2)
        parts = [_judge(sample, drawn[first : first + at_once]) for first in range(0, _NUM_DRAWN, at_once)]
        likelihood_S, error_SN, density_SN = (np.concatenate(part) for part in zip(*parts, strict=True))
        # The weights without a point are those with it less what it contributed.
        self.left_out_N = (_normalized(likelihood_S[:, None] - density_SN) * error_SN).sum(0)
        place = np.cumsum(_normalized(likelihood_S))
        kept_K, count_K = np.unique(
            np.searchsorted(place, (np.arange(_NUM_KEPT) + 0.5) / _NUM_KEPT * place[-1]), return_counts=True
        )
        self._smooth = drawn[kept_K]
        self._weight_S = count_K / _NUM_KEPT
        inverse_SNN = np.linalg.inv(sample.whole_covariance(self._smooth))
        self._root_SNN = np.linalg.cholesky(inverse_SNN)
        self._ones_SN = inverse_SNN.sum(2)
        self._level_variance_S = 1 / self._ones_SN.sum(1)
        self._level_S = self._level_variance_S * (self._ones_SN @ sample.mean_N)
        rest_SN = sample.mean_N - self._level_S[:, None]
        self._pull_SN = np.einsum("snm,sm->sn", inverse_SNN, rest_SN)
        squares_S = (rest_SN * self._pull_SN).sum(1) + sample.squares_within / self._smooth.seed_noise_S
        self._scale_S = squares_S / sample.degrees

    def joint(self, X_NF: Floats, Y_MF: Floats) -> tuple[Floats, Floats, Floats]:
        """(mean_N, variance_N, covariance_NM) of the response at N places, the last with that at M others.

        Variances are the scale of a t distribution with the sample's degrees.
        """
        means, other_means = [], []
        variance_N, covariance_NM = np.zeros(len(X_NF)), np.zeros((len(X_NF), len(Y_MF)))
        num_rows = max(len(X_NF), len(Y_MF), 1)
        at_once = max(1, 2**20 // (num_rows * max(len(self._sample.mean_N), len(Y_MF))))
        for first in range(0, len(self._weight_S), at_once):
            part = slice(first, first + at_once)
            smooth, weight_S = self._smooth[part], (self._weight_S * self._scale_S)[part]
            level_S = self._level_variance_S[part]
            mean_SN, root_SNK, left_SN = self._told(X_NF, part)
            other_SM, other_root_SMK, other_left_SM = self._told(Y_MF, part)
            means.append(mean_SN)
            other_means.append(other_SM)
            direct_SN = 1 + smooth.slope_S[:, None] * np.square(X_NF).sum(1)
            variance_N += weight_S @ (direct_SN - np.square(root_SNK).sum(2) + level_S[:, None] * left_SN**2)
            direct_SNM = self._sample.process_covariance(X_NF, Y_MF, smooth)
            direct_SNM -= root_SNK @ other_root_SMK.transpose(0, 2, 1)
            direct_SNM += (level_S[:, None] * left_SN)[:, :, None] * other_left_SM[:, None]
            covariance_NM += np.tensordot(weight_S, direct_SNM, axes=1)
        mean_N, apart_SN = self._average(means)
        _, other_apart_SM = self._average(other_means)
        variance_N += self._weight_S @ np.square(apart_SN)
        covariance_NM += (self._weight_S[:, None] * apart_SN).T @ other_apart_SM
        return mean_N, np.maximum(variance_N, 0), covariance_NM

    def _told(self, X_NF: Floats, part: slice) -> tuple[Floats, Floats, Floats]:
        """Of some settings: mean_SN, what the tried points tell as a root_SNK, and how much left_SN of the level."""
        with_SNK = self._sample.process_covariance(X_NF, self._sample.features_NF, self._smooth[part])
        mean_SN = self._level_S[part, None] + (with_SNK @ self._pull_SN[part, :, None])[:, :, 0]
        left_SN = 1 - (with_SNK @ self._ones_SN[part, :, None])[:, :, 0]
        return mean_SN, with_SNK @ self._root_SNN[part], left_SN

    def _average(self, parts: list[Floats]) -> tuple[Floats, Floats]:
        """mean_N over the settings, and apart_SN from it."""
        means_SN = np.concatenate(parts)
        mean_N: Floats = self._weight_S @ means_SN
        return mean_N, means_SN - mean_N


def _draw(num_coordinates: int, seed: int) -> Smoothness:
    from scipy.stats import norm, qmc

    # The first draws of a Sobol sequence may lie on the edge of the cube, where a normal variable is infinite.
    unit = np.clip(qmc.Sobol(num_coordinates + 3, seed=seed).random(_NUM_DRAWN), 1e-4, 1 - 1e-4)
    normal = norm.ppf(unit)
    ratios = [
        np.exp(middle + width * normal[:, num_coordinates + number])
        for number, (middle, width) in enumerate((_SLOPE, _POINT_NOISE, _SEED_NOISE))
    ]
    return Smoothness(np.exp(_LENGTH[0] + _LENGTH[1] * normal[:, :num_coordinates]), *ratios)


def _judge(sample: Sample, smooth: Smoothness) -> tuple[Floats, Floats, Floats]:
    """Of each setting: log likelihood_S; error_SN of predicting a point from the others; its log density_SN there."""
    from scipy.stats import t as student

    whole_SNN = sample.whole_covariance(smooth)
    inverse_SNN = np.linalg.inv(whole_SNN)
    ones_SN = inverse_SNN.sum(2)
    total_S = ones_SN.sum(1)
    free_SNN = inverse_SNN - ones_SN[:, :, None] * ones_SN[:, None] / total_S[:, None, None]
    pull_SN = free_SNN @ sample.mean_N
    num_within = int(sample.count_N.sum()) - len(sample.mean_N)
    squares_S = pull_SN @ sample.mean_N + sample.squares_within / smooth.seed_noise_S
    scale_S = np.maximum(squares_S, np.finfo(float).tiny) / sample.degrees
    likelihood_S = -0.5 * (
        np.linalg.slogdet(whole_SNN)[1]
        + np.log(total_S)
        + sample.degrees * np.log(scale_S)
        + num_within * np.log(smooth.seed_noise_S)
    )
    own_SN = np.einsum("snn->sn", free_SNN)
    error_SN = pull_SN / own_SN
    width_SN = np.sqrt(scale_S[:, None] / own_SN)
    density_SN = student.logpdf(error_SN / width_SN, sample.degrees) - np.log(width_SN)
    return likelihood_S, error_SN, density_SN


def _normalized(logarithms: Floats) -> Floats:
    weights: Floats = np.exp(logarithms - logarithms.max(0))
    weights /= weights.sum(0)
    return weights
