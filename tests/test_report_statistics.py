"""Intervals cover what they should, and arms that are equal are called equal."""

import numpy as np
import pyarrow as pa
import pytest
from report_fixtures import make_arm, make_inputs, make_scores

from rcpt_ray.report.statistics import (
    ALL_DOMAINS,
    INSIDE_THE_NOISE,
    Item,
    estimate_difference,
    estimate_mean,
    estimate_share,
    measure_arms,
    read_items,
    share_standard_error,
)


def _items(values: list[float], weights: list[float] | None = None) -> list[Item]:
    weights = weights or [1.0] * len(values)
    return [Item("task", f"{n:03d}", "stem", "", *pair) for n, pair in enumerate(zip(values, weights, strict=True))]


def test_a_95_percent_interval_covers_a_planted_difference_about_95_times_in_100() -> None:
    """300 pairs of arms, 60 documents each; documents differ ten times as much as the arms do."""
    drawn, planted, num_covered, num_trials = np.random.default_rng(5), -0.03, 0, 300
    for trial in range(num_trials):
        baseline = 1.0 + 0.3 * drawn.standard_normal(60)
        arm = baseline + planted + 0.05 * drawn.standard_normal(60)
        difference = estimate_difference(_items(list(arm)), _items(list(baseline)), seed=trial)
        assert difference is not None
        num_covered += difference.may_be(planted)
    assert 0.90 <= num_covered / num_trials <= 0.98


def test_pairing_finds_a_difference_that_is_small_beside_the_spread_of_documents() -> None:
    drawn = np.random.default_rng(6)
    baseline = 1.0 + 0.5 * drawn.standard_normal(50)
    arm = baseline - 0.02 + 0.01 * drawn.standard_normal(50)
    difference = estimate_difference(_items(list(arm)), _items(list(baseline)), seed=0)
    assert difference is not None and difference.verdict == "lower"


def test_equal_arms_are_called_equal() -> None:
    items = _items([0.0, 1.0, 1.0, 0.0, 1.0])
    difference = estimate_difference(items, items, seed=0)
    assert difference is not None
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert difference.verdict == INSIDE_THE_NOISE


def test_one_document_is_no_ground_for_a_verdict() -> None:
    difference = estimate_difference(_items([1.0]), _items([2.0]), seed=0)
    assert difference is not None
    assert difference.low is None and difference.verdict == INSIDE_THE_NOISE


def test_a_figure_that_is_not_a_number_is_no_difference() -> None:
    difference = estimate_difference(_items([float("nan"), 1.0]), _items([2.0, 2.0]), seed=0)
    assert difference is not None and difference.verdict == INSIDE_THE_NOISE


def test_a_difference_is_taken_over_the_items_that_both_have() -> None:
    difference = estimate_difference(_items([1.0, 1.0, 5.0]), _items([0.5, 0.5]), seed=0)
    assert difference is not None and (difference.value, difference.num_items) == (0.5, 2)
    assert estimate_difference(_items([1.0]), [], seed=0) is None


def test_means_are_weighted_by_bytes() -> None:
    assert estimate_mean(np.array([1.0, 2.0]), np.array([300.0, 100.0]), seed=0).value == 1.25


def test_the_standard_error_of_a_share_is_the_textbook_one() -> None:
    """10 right of 40: sqrt(0.25 x 0.75 / 39)."""
    share = estimate_share(_items([1.0] * 10 + [0.0] * 30))
    assert share.standard_error == pytest.approx(0.0693375)
    assert (share.low, share.high) == pytest.approx((0.1419, 0.4019), abs=1e-4)
    assert share.may_be(0.25) and not share.may_be(0.5)
    assert share_standard_error(np.array([1.0])) is None


def test_the_order_of_rows_changes_nothing() -> None:
    arm = make_arm("standard")
    turned = arm.scores.take(pa.array(range(len(arm.scores) - 1, -1, -1)))
    assert read_items(turned, "acc") == read_items(arm.scores, "acc")
    assert measure_arms(make_inputs()) == measure_arms(make_inputs())


def test_the_figures_of_an_arm_are_those_of_its_rows() -> None:
    """The planted gains of the fixture come back; the base is compared with nothing."""
    base, standard, *_ = measure_arms(make_inputs())
    assert base.bits_per_byte_difference is None and base.accuracy_difference == {} and base.last_loss is None
    assert standard.num_trained_tokens == 20 * 4096
    assert list(standard.bits_per_byte) == [ALL_DOMAINS, "stem", "law"]
    assert standard.bits_per_byte_difference is not None
    assert standard.bits_per_byte_difference.may_be(-0.05) and standard.bits_per_byte_difference.verdict == "lower"
    rows = [row for row in make_scores("standard").to_pylist() if row["metric"] == "bits_per_byte"]
    by_hand = sum(row["value"] * row["weight"] for row in rows) / sum(row["weight"] for row in rows)
    assert standard.bits_per_byte[ALL_DOMAINS].value == pytest.approx(by_hand)
