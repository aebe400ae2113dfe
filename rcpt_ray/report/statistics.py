"""What was measured of each arm, and how sure it is: standard errors, intervals, paired differences.

    rows of records.SCORE -> items of one metric -> estimate with interval; two arms -> estimate of their difference

N items (questions or held-out documents). Items are sorted by task and id before they are drawn from, and each draw is
seeded by the recipe's seed, so the figures do not depend on the order of rows. An interval says how far a figure could
move with other items of the same kind; it says nothing about another seed of training.
Price: NUM_RESAMPLES x N draws for each interval, milliseconds for hundreds of items, about a second for MMLU's 14,000.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from rcpt_ray.report.inputs import ArmResult, ReportInputs

CONFIDENCE: Final = 0.95
NUM_RESAMPLES: Final = 2000
CHANCE: Final = 0.25
"""Accuracy of guessing among the four choices that every task has."""
INSIDE_THE_NOISE: Final = "inside the noise"
ALL_DOMAINS: Final = "all domains"
"""No domain is named so: names of domains hold no space."""

_DRAWS_IN_MEMORY: Final = 4_000_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Item:
    """The score of one question or held-out document."""

    task: str
    item_id: str
    domain: str
    difficulty: str
    value: float
    weight: float


@dataclass(frozen=True)
class Estimate:
    """A figure with its standard error and 95% interval; both are None where fewer than two items were seen."""

    value: float
    standard_error: float | None
    low: float | None
    high: float | None
    num_items: int

    def may_be(self, value: float) -> bool:
        """Whether the interval contains `value`; without an interval anything may be."""
        if self.low is None or self.high is None or math.isnan(self.low) or math.isnan(self.high):
            return True
        return self.low <= value <= self.high

    @property
    def verdict(self) -> str:
        """What this figure may be called if it is a difference: higher, lower, or inside the noise."""
        if self.may_be(0.0) or math.isnan(self.value):
            return INSIDE_THE_NOISE
        return "higher" if self.value > 0 else "lower"


@dataclass(frozen=True)
class ArmFigures:
    """What was measured of one arm; accuracies are by task, bits per byte by domain and ALL_DOMAINS."""

    name: str
    num_trained_tokens: int | None
    last_loss: float | None
    """Training loss of the last step, nats a token."""
    accuracy: dict[str, Estimate]
    accuracy_difference: dict[str, Estimate]
    bits_per_byte: dict[str, Estimate]
    bits_per_byte_difference: Estimate | None


def measure_arms(inputs: ReportInputs) -> list[ArmFigures]:
    """The figures of every arm in its order; differences are taken against `report.baseline` where it was measured."""
    baseline = next((arm for arm in inputs.arms if arm.name == inputs.recipe.report.baseline), None)
    return [_measure_arm(arm, baseline if arm is not baseline else None, inputs.recipe.seed) for arm in inputs.arms]


def read_items(scores: pa.Table, metric: str) -> list[Item]:
    """The items of one metric, sorted by task and id."""
    columns = ("task", "item_id", "domain", "difficulty", "value", "weight")
    rows = [row for row in scores.to_pylist() if row["metric"] == metric]
    items = [Item(**{column: row[column] for column in columns}) for row in rows]
    return sorted(items, key=lambda item: (item.task, item.item_id))


def group_items(items: Sequence[Item], key: Callable[[Item], str | None]) -> dict[str, list[Item]]:
    """Items by a field; those without it are under `unknown`."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item) or "unknown", []).append(item)
    return groups


def estimate_share(items: Sequence[Item]) -> Estimate:
    """The share of right answers with its standard error and Wilson's 95% interval (scipy's binomial test).

    Example: 10 right of 40 give 0.25, standard error 0.069, interval 0.142 to 0.402.
    """
    values_N = np.array([item.value for item in items], dtype=np.float64)
    interval = stats.binomtest(int(values_N.sum()), len(values_N)).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(
        float(values_N.mean()), share_standard_error(values_N), float(interval.low), float(interval.high), len(values_N)
    )


def share_standard_error(values_N: Floats) -> float | None:
    """Standard error of a mean of zeros and ones: sqrt(p (1 - p) / (N - 1)), as lm-eval's `mean_stderr`."""
    if len(values_N) < 2:
        return None
    return float(stats.sem(values_N))


def estimate_mean(values_N: Floats, weights_N: Floats, seed: int) -> Estimate:
    """The weighted mean with the standard error and percentile interval of a bootstrap over items.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. An item is drawn with its weight, so the
    interval covers the doubt about the weights too.
    """
    value = float(_weighted_mean(values_N, weights_N))
    if len(values_N) < 2 or not math.isfinite(value):
        return Estimate(value, None, None, None, len(values_N))
    drawn = stats.bootstrap(
        (values_N, weights_N),
        _weighted_mean,
        paired=True,
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, _DRAWS_IN_MEMORY // len(values_N)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = drawn.confidence_interval
    return Estimate(value, float(drawn.standard_error), float(low), float(high), len(values_N))


def estimate_difference(items: Sequence[Item], baseline: Sequence[Item], seed: int) -> Estimate | None:
    """The weighted mean of `items` minus that of `baseline` over the items that both have: a paired bootstrap.

    Both arms keep an item together when it is drawn, so what makes an item hard for both cancels out. None where the
    arms share no item.
    """
    others = {(item.task, item.item_id): item.value for item in baseline}
    shared = [item for item in items if (item.task, item.item_id) in others]
    assert len(others) == len(baseline), "an item is scored twice"
    if not shared:
        return None
    differences_N = np.array([item.value - others[item.task, item.item_id] for item in shared], dtype=np.float64)
    return estimate_mean(differences_N, _weights(shared), seed)


def _measure_arm(arm: ArmResult, baseline: ArmResult | None, seed: int) -> ArmFigures:
    questions = group_items(read_items(arm.scores, "acc"), lambda item: item.task)
    documents = read_items(arm.scores, "bits_per_byte")
    domains = {ALL_DOMAINS: documents} | group_items(documents, lambda item: item.domain) if documents else {}
    differences: dict[str, Estimate | None] = {}
    documents_difference = None
    if baseline is not None:
        others = group_items(read_items(baseline.scores, "acc"), lambda item: item.task)
        differences = {task: estimate_difference(questions[task], others.get(task, []), seed) for task in questions}
        documents_difference = estimate_difference(documents, read_items(baseline.scores, "bits_per_byte"), seed)
    steps = arm.steps.sort_by("step") if arm.steps is not None and len(arm.steps) else None
    return ArmFigures(
        name=arm.name,
        num_trained_tokens=None if steps is None else sum(steps["num_tokens"].to_pylist()),
        last_loss=None if steps is None else steps["loss"][-1].as_py(),
        accuracy={task: estimate_share(items) for task, items in questions.items()},
        accuracy_difference={task: estimate for task, estimate in differences.items() if estimate is not None},
        bits_per_byte={
            domain: estimate_mean(np.array([item.value for item in items]), _weights(items), seed)
            for domain, items in domains.items()
        },
        bits_per_byte_difference=documents_difference,
    )


def _weights(items: Sequence[Item]) -> Floats:
    return np.array([item.weight for item in items], dtype=np.float64)


def _weighted_mean(values_N: Floats, weights_N: Floats, axis: int = -1) -> Floats:
    mean: Floats = (values_N * weights_N).sum(axis=axis) / weights_N.sum(axis=axis)
    return mean
