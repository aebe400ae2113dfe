"""A Gaussian process whose smoothness is not chosen but averaged over.

    N, M points, K tried ones, G measurements, F columns, C coordinates, S settings of smoothness

    mean of a measurement's values = level + slope . x + curve(x) + what it has for itself + noise of seeds

Curve is a Gaussian process (squared exponential, one length scale a coordinate), slope a normal vector: with long
length scales this is a polynomial, with short ones it bends. Given the ratios of the variances, level and overall scale
have their posterior in closed form, a t distribution (universal kriging; Santner, Williams and Notz 2018, ch. 4).
Length scales and ratios are drawn from wide priors (512, a Sobol sequence) and weighed by the likelihood of the values
and of the spread between seeds; 48 of them are kept by resampling. The one likeliest setting, which
sklearn's GaussianProcessRegressor takes, is too sure of itself with 10 to 20 points; the average is less so, it has no
optimiser that may fail to converge, and leaving out a point costs no refit (Dubrule 1983).

What a measurement has for itself (thoughts drawn once for all its seeds, say) counts as noise: it is no part of the
response. A measurement that several points stand on is one of the mean of their responses. It does not tell that these
are equal: at a share of 0 a length makes no difference, and that must not smooth the length out at other shares.

Price: 512 inversions of G x G: 0.03 s with 15 points, 0.1 s with 50.
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

    features_KF: Floats
    share_GK: Floats
    """Of each measurement the shares of its points, 1 in all."""
    coordinate_F: list[int]
    """Columns of one coordinate share a length scale."""
    mean_G: Floats
    """Of a measurement's values."""
    count_G: Floats
    """Of a measurement's values."""
    squares_within: float
    """Squared differences of values from their measurement's mean, summed."""

    @property
    def degrees(self) -> int:
        """Of freedom: values less one for the level."""
        return int(self.count_G.sum()) - 1

    def process_covariance(self, X_NF: Floats, Y_MF: Floats, smooth: Smoothness) -> Floats:
        """covariance_SNM of slope and curve, in units of the curve's variance."""
        apart_NMF = np.square(X_NF[:, None] - Y_MF[None])
        distance_SNM = np.tensordot(smooth.lengths_SC[:, self.coordinate_F] ** -2, apart_NMF, axes=(1, 2))
        curve_SNM: Floats = np.exp(-0.5 * distance_SNM)
        return curve_SNM + smooth.slope_S[:, None, None] * (X_NF @ Y_MF.T)

    def measured_covariance(self, X_NF: Floats, smooth: Smoothness) -> Floats:
        """covariance_SNG of the response with what is measured of it."""
        return self.process_covariance(X_NF, self.features_KF, smooth) @ self.share_GK.T

    def whole_covariance(self, smooth: Smoothness) -> Floats:
        """covariance_SGG of the measurements' means."""
        noise_SG = smooth.point_noise_S[:, None] + smooth.seed_noise_S[:, None] / self.count_G + _JITTER
        own = np.eye(len(self.mean_G))
        return self.share_GK @ self.measured_covariance(self.features_KF, smooth) + noise_SG[:, :, None] * own


class Process:
    """The fitted average.

    Attributes:
        left_out_G: What the measurements' means are less what is predicted of each from the others.
    """

    def __init__(self, sample: Sample, seed: int) -> None:
        """Fit.

        Args:
            sample: At least two measurements, of which the means differ.
            seed: Of the settings that are tried.
        """
        self._sample = sample
        drawn = _draw(1 + max(sample.coordinate_F), seed)
        at_once = max(1, 2**21 // len(sample.features_KF) ** 2)
        parts = [_judge(sample, drawn[first : first + at_once]) for first in range(0, _NUM_DRAWN, at_once)]
        likelihood_S, error_SG, density_SG = (np.concatenate(part) for part in zip(*parts, strict=True))
        # The weights without a measurement are those with it less what it contributed.
        self.left_out_G = (_normalized(likelihood_S[:, None] - density_SG) * error_SG).sum(0)
        place = np.cumsum(_normalized(likelihood_S))
        kept_K, count_K = np.unique(
            np.searchsorted(place, (np.arange(_NUM_KEPT) + 0.5) / _NUM_KEPT * place[-1]), return_counts=True
        )
        self._smooth = drawn[kept_K]
        self._weight_S = count_K / _NUM_KEPT
        inverse_SGG = np.linalg.inv(sample.whole_covariance(self._smooth))
        self._root_SGG = np.linalg.cholesky(inverse_SGG)
        self._ones_SG = inverse_SGG.sum(2)
        self._level_variance_S = 1 / self._ones_SG.sum(1)
        self._level_S = self._level_variance_S * (self._ones_SG @ sample.mean_G)
        rest_SG = sample.mean_G - self._level_S[:, None]
        self._pull_SG = np.einsum("sgh,sh->sg", inverse_SGG, rest_SG)
        squares_S = (rest_SG * self._pull_SG).sum(1) + sample.squares_within / self._smooth.seed_noise_S
        self._scale_S = squares_S / sample.degrees

    def joint(self, X_NF: Floats, Y_MF: Floats) -> tuple[Floats, Floats, Floats]:
        """(mean_N, variance_N, covariance_NM) of the response at N places, the last with that at M others.

        Variances are the scale of a t distribution with the sample's degrees.
        """
        means, other_means = [], []
        variance_N, covariance_NM = np.zeros(len(X_NF)), np.zeros((len(X_NF), len(Y_MF)))
        num_rows = max(len(X_NF), len(Y_MF), 1)
        at_once = max(1, 2**20 // (num_rows * max(len(self._sample.features_KF), len(Y_MF))))
        for first in range(0, len(self._weight_S), at_once):
            part = slice(first, first + at_once)
            smooth, weight_S = self._smooth[part], (self._weight_S * self._scale_S)[part]
            level_S = self._level_variance_S[part]
            mean_SN, root_SNG, left_SN = self._told(X_NF, part)
            other_SM, other_root_SMG, other_left_SM = self._told(Y_MF, part)
            means.append(mean_SN)
            other_means.append(other_SM)
            direct_SN = 1 + smooth.slope_S[:, None] * np.square(X_NF).sum(1)
            variance_N += weight_S @ (direct_SN - np.square(root_SNG).sum(2) + level_S[:, None] * left_SN**2)
            direct_SNM = self._sample.process_covariance(X_NF, Y_MF, smooth)
            direct_SNM -= root_SNG @ other_root_SMG.transpose(0, 2, 1)
            direct_SNM += (level_S[:, None] * left_SN)[:, :, None] * other_left_SM[:, None]
            covariance_NM += np.tensordot(weight_S, direct_SNM, axes=1)
        mean_N, apart_SN = self._average(means)
        _, other_apart_SM = self._average(other_means)
        variance_N += self._weight_S @ np.square(apart_SN)
        covariance_NM += (self._weight_S[:, None] * apart_SN).T @ other_apart_SM
        return mean_N, np.maximum(variance_N, 0), covariance_NM

    def _told(self, X_NF: Floats, part: slice) -> tuple[Floats, Floats, Floats]:
        """Of some settings: mean_SN, what was measured tells as a root_SNG, and how much left_SN of the level."""
        with_SNG = self._sample.measured_covariance(X_NF, self._smooth[part])
        mean_SN = self._level_S[part, None] + (with_SNG @ self._pull_SG[part, :, None])[:, :, 0]
        left_SN = 1 - (with_SNG @ self._ones_SG[part, :, None])[:, :, 0]
        return mean_SN, with_SNG @ self._root_SGG[part], left_SN

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
    """Of each setting: log likelihood_S; error_SG of predicting a measurement from the others; log density_SG there."""
    from scipy.stats import t as student

    whole_SGG = sample.whole_covariance(smooth)
    inverse_SGG = np.linalg.inv(whole_SGG)
    ones_SG = inverse_SGG.sum(2)
    total_S = ones_SG.sum(1)
    free_SGG = inverse_SGG - ones_SG[:, :, None] * ones_SG[:, None] / total_S[:, None, None]
    pull_SG = free_SGG @ sample.mean_G
    num_within = int(sample.count_G.sum()) - len(sample.mean_G)
    squares_S = pull_SG @ sample.mean_G + sample.squares_within / smooth.seed_noise_S
    scale_S = np.maximum(squares_S, np.finfo(float).tiny) / sample.degrees
    likelihood_S = -0.5 * (
        np.linalg.slogdet(whole_SGG)[1]
        + np.log(total_S)
        + sample.degrees * np.log(scale_S)
        + num_within * np.log(smooth.seed_noise_S)
    )
    own_SG = np.einsum("sgg->sg", free_SGG)
    error_SG = pull_SG / own_SG
    width_SG = np.sqrt(scale_S[:, None] / own_SG)
    density_SG = student.logpdf(error_SG / width_SG, sample.degrees) - np.log(width_SG)
    return likelihood_S, error_SG, density_SG


def _normalized(logarithms: Floats) -> Floats:
    weights: Floats = np.exp(logarithms - logarithms.max(0))
    weights /= weights.sum(0)
    return weights
