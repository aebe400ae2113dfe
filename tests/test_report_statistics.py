"""Intervals cover what they should over items and seeds, equal arms are called equal, small cases agree by hand."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from rcpt_ray.report.figures import Figures
from rcpt_ray.report.lines import Line, have_unequal_seeds, paired
from rcpt_ray.report.statistics.bootstrap import bootstrap_variances
from rcpt_ray.report.statistics.comparisons import correct, holm
from rcpt_ray.report.statistics.estimates import INSIDE_THE_NOISE, Difference, differences, estimates
from rcpt_ray.report.statistics.measures import ALL, Floats, Groups, Measure
from rcpt_ray.report.statistics.seeds import Pieces, SeedSpread, pieces_of, spread_of_seeds

NUM_TRIALS = 300


def one_group(num_items: int) -> Groups:
    return Groups([ALL], np.zeros(num_items, np.intp))


def compare(first_SN: Floats, second_SN: Floats, weights_N: Floats | None = None, is_share: bool = False) -> Difference:
    """The difference of two lines over the same items."""
    num_items = first_SN.shape[1]
    weights_N = np.ones(num_items) if weights_N is None else weights_N
    groups, apart_N = one_group(num_items), first_SN.mean(0) - second_SN.mean(0)
    plain = pieces_of(apart_N[None], weights_N, groups)
    variances_KG = bootstrap_variances(apart_N[None], np.ones((1, num_items), bool), weights_N, groups, seed=1)
    seeds = [spread for side in (first_SN, second_SN) for spread in spread_of_seeds(side, weights_N, groups)]
    pieces = Pieces(plain.means_G, variances_KG[0], plain.item_freedom_G, plain.num_items_G, seeds)
    return differences(pieces, is_share, num_seeds=len(first_SN))[0]


@cache
def simulate(
    num_seeds: int, seed_spread: float, planted: float, num_trials: int, num_items: int = 40
) -> list[Difference]:
    """Differences of pairs of arms; a trial's items are a group of one measure, so all are bootstrapped at once.

    Items differ far more than arms do; each seed of an arm moves all its items together by `seed_spread`, and each
    item of each seed has noise of its own.
    """
    drawn = np.random.default_rng([num_seeds, int(1000 * seed_spread)])
    groups = Groups([str(trial) for trial in range(num_trials)], np.repeat(np.arange(num_trials), num_items))
    items_N = 0.5 * drawn.standard_normal(num_trials * num_items)

    def arm(mean: float) -> Floats:
        seeds_SG = seed_spread * drawn.standard_normal((num_seeds, num_trials))
        noise_SN = 0.1 * drawn.standard_normal((num_seeds, len(items_N)))
        own_N = 0.1 * drawn.standard_normal(len(items_N))
        return mean + items_N + own_N + noise_SN + np.repeat(seeds_SG, num_items, axis=1)

    first_SN, second_SN, weights_N = arm(planted), arm(0.0), np.ones(len(items_N))
    apart_N = first_SN.mean(0) - second_SN.mean(0)
    plain = pieces_of(apart_N[None], weights_N, groups)
    variances_KG = bootstrap_variances(apart_N[None], np.ones((1, len(items_N)), bool), weights_N, groups, seed=2)
    seeds = [spread for side in (first_SN, second_SN) for spread in spread_of_seeds(side, weights_N, groups)]
    pieces = Pieces(plain.means_G, variances_KG[0], plain.item_freedom_G, plain.num_items_G, seeds)
    return differences(pieces, is_share=False, num_seeds=num_seeds)


def at_the_stated_rate(num_times: int, num_trials: int, rate: float = 0.95) -> bool:
    """Whether `num_times` is no surprise (one in a thousand) for a chance of `rate`."""
    return bool(stats.binomtest(num_times, num_trials, rate).pvalue > 0.001)


def test_one_seed_against_three_borrows_their_spread() -> None:
    """Equal arms whose seeds differ far more than items leave doubt; a trial is a subject of the measure."""
    drawn, num_items = np.random.default_rng(8), 20
    subjects = np.repeat([f"s{trial:03d}" for trial in range(NUM_TRIALS)], num_items)
    seeds_VT = 0.1 * drawn.standard_normal((4, NUM_TRIALS))
    values_VN = np.repeat(seeds_VT, num_items, axis=1) + 0.1 * drawn.standard_normal((4, len(subjects)))
    ids, fields = [str(item) for item in range(len(subjects))], {"subject": subjects.astype(object)}
    here_VN, ones_N = np.ones(values_VN.shape, bool), np.ones(len(subjects))
    measure = Measure("quiz", "bits_per_byte", ids, values_VN, here_VN, ones_N, fields)
    one = Line("one", "one", "", "", (0,), (), True, (17,))
    three = Line("three", "three", "", "", (1, 2, 3), (), True, (17, 18, 19))
    figures = Figures([one, three], {("quiz", "bits_per_byte"): measure}, "", None, [], 1, {})
    found = figures.family_of([(one, three)], "three", [measure], "subject").differences.values()
    num_covered = sum(difference.may_be(0.0) for difference in found)
    assert len(found) == NUM_TRIALS and {difference.num_seeds for difference in found} == {1}
    assert at_the_stated_rate(num_covered, NUM_TRIALS) or num_covered > 0.95 * NUM_TRIALS
    assert num_covered < 0.995 * NUM_TRIALS


def test_a_borrowed_spread_by_hand() -> None:
    """Seeds' means 1, 2, 3 have variance 1: 1/3 of their own mean, 1 of the other line's, 4/3 of the difference."""
    seeds = SeedSpread(np.array([[1.0], [2.0], [3.0]]), np.array([0.1]))
    assert seeds.variances == pytest.approx([1 / 3])
    assert seeds.also_for(1).variances == pytest.approx([4 / 3]) and seeds.also_for(1).noise == pytest.approx([0.4])
    assert Pieces(*(np.array([value]) for value in (0.0, 0.5, 9.0, 10.0)), [seeds.also_for(1)]).variances == (
        pytest.approx([0.5 + 4 / 3 - 0.4])
    )


def test_a_difference_is_over_the_seeds_that_both_have() -> None:
    base = Line("base", "base", "", "", (0,), (), False, (0,))
    three = Line("three", "three", "", "", (1, 2, 3), (), True, (17, 18, 19))
    two = Line("two", "two", "", "", (4, 5), (6,), True, (18, 19))
    lone = Line("lone", "lone", "", "", (7,), (), True, (18,))
    assert [line.rows for line in paired(three, two)] == [(2, 3), (4, 5)]
    assert [line.seeds for line in paired(two, three)] == [(18, 19), (18, 19)]
    for line, other in ((three, base), (three, lone), (base, two)):
        assert paired(line, other) == (line, other)
    unequal = [have_unequal_seeds(line, lone) for line in (three, two, lone, base)]
    assert unequal == [True, True, False, False]


def test_intervals_of_one_seed_cover_a_planted_difference_95_times_in_100() -> None:
    found = simulate(num_seeds=1, seed_spread=0.0, planted=-0.03, num_trials=NUM_TRIALS)
    assert at_the_stated_rate(sum(one.may_be(-0.03) for one in found), NUM_TRIALS)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_intervals_over_seeds_that_differ_cover_a_planted_difference_95_times_in_100(num_seeds: int) -> None:
    """Seeds differ four times as much as items leave doubt; intervals may be wider than needed, not shorter."""
    found = simulate(num_seeds, seed_spread=0.1, planted=0.05, num_trials=NUM_TRIALS)
    num_covered = sum(one.may_be(0.05) for one in found)
    assert at_the_stated_rate(num_covered, NUM_TRIALS) or num_covered > 0.95 * NUM_TRIALS
    assert num_covered < 0.995 * NUM_TRIALS


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_intervals_over_seeds_that_do_not_differ_cover_too_and_are_not_idle(num_seeds: int) -> None:
    found = simulate(num_seeds, seed_spread=0.0, planted=0.05, num_trials=NUM_TRIALS)
    num_covered = sum(one.may_be(0.05) for one in found)
    assert at_the_stated_rate(num_covered, NUM_TRIALS) or num_covered > 0.95 * NUM_TRIALS
    assert num_covered < 0.995 * NUM_TRIALS


def test_items_alone_would_cover_far_too_seldom_where_seeds_differ() -> None:
    """What the seeds' level is for: an interval of one seed's items knows nothing of another seed."""
    found = simulate(num_seeds=1, seed_spread=0.1, planted=0.05, num_trials=NUM_TRIALS)
    assert sum(one.may_be(0.05) for one in found) < 0.5 * NUM_TRIALS


@pytest.mark.parametrize(("num_seeds", "seed_spread"), [(1, 0.0), (3, 0.1)])
def test_equal_arms_are_called_equal_at_the_stated_rate(num_seeds: int, seed_spread: float) -> None:
    found = simulate(num_seeds, seed_spread, planted=0.0, num_trials=NUM_TRIALS)
    num_equal = sum(one.verdict == INSIDE_THE_NOISE for one in found)
    assert at_the_stated_rate(num_equal, NUM_TRIALS) or num_equal > 0.95 * NUM_TRIALS


def test_tables_of_equal_arms_are_all_noise_95_times_in_100() -> None:
    """30 tables of 10 comparisons: uncorrected some 12 of them would hold a false call."""
    found = simulate(num_seeds=1, seed_spread=0.0, planted=0.0, num_trials=NUM_TRIALS)
    tables = [dict(enumerate(found[first : first + 10])) for first in range(0, NUM_TRIALS, 10)]
    calls = [any(one.verdict != INSIDE_THE_NOISE for one in correct(table).values()) for table in tables]
    uncorrected = [any(one.verdict != INSIDE_THE_NOISE for one in table.values()) for table in tables]
    assert sum(calls) <= 5 < sum(uncorrected)


def test_a_planted_difference_is_found() -> None:
    found = simulate(num_seeds=3, seed_spread=0.0, planted=0.3, num_trials=50)
    assert {one.verdict for one in found} == {"higher"}


def test_two_seeds_and_two_items_by_hand() -> None:
    """Seeds' means 0.5 and 1.0 of items (0, 1) and (1, 1): mean 0.75, items' variance ((0.5 - 0.75)^2 x 2) / 2.

    Rests are (-0.25, 0.25) and (0.25, -0.25), so MS_rest / (S N) = 0.25 / 4; seeds' variance 0.125 / 2 of the mean.
    """
    pieces = pieces_of(np.array([[0.0, 1.0], [1.0, 1.0]]), np.ones(2), one_group(2))
    assert pieces.means_G == [0.75]
    assert pieces.item_variances_G == pytest.approx([0.0625])
    (seeds,) = pieces.seeds
    assert seeds.variances == pytest.approx([0.0625]) and seeds.noise_G == pytest.approx([0.0625])
    assert pieces.variances == pytest.approx([0.0625])
    assert pieces.freedom == pytest.approx([1.0])


def test_bootstrap_of_two_items_by_hand() -> None:
    """Draws of 0 and 1 have means 0, 1/2, 1 with chances 1/4, 1/2, 1/4: variance 1/8, of N - 1 in N."""
    variance = bootstrap_variances(np.array([[0.0, 1.0]]), np.ones((1, 2), bool), np.ones(2), one_group(2), 0)
    assert variance[0, 0] == pytest.approx(0.25, rel=0.1)


def test_bootstrap_of_many_items_is_the_textbook_variance() -> None:
    values_N = np.random.default_rng(3).standard_normal(500)
    variance = bootstrap_variances(values_N[None], np.ones((1, 500), bool), np.ones(500), one_group(500), 0)
    assert variance[0, 0] == pytest.approx(stats.sem(values_N) ** 2, rel=0.12)


def test_differences_of_other_sets_of_items_do_not_mix() -> None:
    """The second difference lacks the last item, whose value would be seen."""
    values_KN, present_KN = np.array([[0.0, 1.0, 2.0, 50.0]] * 2), np.array([[True] * 4, [True, True, True, False]])
    both_KG = bootstrap_variances(values_KN, present_KN, np.ones(4), one_group(4), 0)
    assert both_KG[0, 0] > 100 * both_KG[1, 0] > 0


def test_pairing_finds_a_difference_that_is_small_beside_the_spread_of_items() -> None:
    drawn = np.random.default_rng(6)
    baseline = 1.0 + 0.5 * drawn.standard_normal((1, 50))
    assert compare(baseline - 0.02 + 0.01 * drawn.standard_normal((1, 50)), baseline).verdict == "lower"


def test_equal_answers_are_equal() -> None:
    answers = np.array([[0.0, 1.0, 1.0, 0.0, 1.0]])
    found = compare(answers, answers, is_share=True)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_three_items_that_all_changed_sides_are_no_proof() -> None:
    """Their spread is 0, so pseudo-items stand in; 40 such items are proof."""
    assert compare(np.ones((1, 3)), np.zeros((1, 3)), is_share=True).verdict == INSIDE_THE_NOISE
    assert compare(np.ones((1, 40)), np.zeros((1, 40)), is_share=True).verdict == "higher"


def test_one_item_is_no_ground_for_a_verdict() -> None:
    found = compare(np.array([[1.0]]), np.array([[2.0]]))
    assert (found.value, found.low, found.p_value, found.verdict) == (-1.0, None, None, INSIDE_THE_NOISE)


def test_a_figure_that_is_not_a_number_is_no_difference() -> None:
    found = compare(np.array([[np.nan, 1.0]]), np.array([[2.0, 2.0]]))
    assert found.low is None and found.verdict == INSIDE_THE_NOISE


def test_means_are_weighted() -> None:
    pieces = pieces_of(np.array([[1.0, 2.0]]), np.array([300.0, 100.0]), one_group(2))
    assert pieces.means_G == [1.25]


def test_weights_that_are_equal_change_nothing() -> None:
    values_SN = np.random.default_rng(1).random((3, 20))
    plain, weighed = (pieces_of(values_SN, np.full(20, weight), one_group(20)) for weight in (1.0, 7.0))
    assert weighed.variances == pytest.approx(plain.variances) and weighed.freedom == pytest.approx(plain.freedom)


def test_the_interval_of_a_share_is_wilsons() -> None:
    """10 right of 40: standard error sqrt(0.25 x 0.75 / 39), interval as scipy's binomial test gives it."""
    pieces = pieces_of(np.array([[1.0] * 10 + [0.0] * 30]), np.ones(40), one_group(40))
    (share,) = estimates(pieces, is_share=True, num_seeds=1)
    wilson = stats.binomtest(10, 40).proportion_ci(0.95, method="wilson")
    assert share.standard_error == pytest.approx(0.0693375)
    assert (share.low, share.high) == pytest.approx((wilson.low, wilson.high))
    assert share.may_be(0.25) and not share.may_be(0.5)


def test_no_right_answer_of_ten_leaves_room_above() -> None:
    (share,) = estimates(pieces_of(np.zeros((1, 10)), np.ones(10), one_group(10)), is_share=True, num_seeds=1)
    assert share.low == 0.0 and share.high == pytest.approx(0.2775, abs=1e-3)


def test_a_contrast_of_groups_has_the_doubt_of_both() -> None:
    groups = Groups(["easy", "hard"], np.array([0] * 50 + [1] * 50))
    pieces = pieces_of(np.random.default_rng(2).random((2, 100)), np.ones(100), groups)
    apart = pieces.contrast(1, 0)
    assert apart.means_G[0] == pytest.approx(pieces.means_G[1] - pieces.means_G[0])
    assert apart.item_variances_G[0] == pytest.approx(pieces.item_variances_G.sum())
    assert apart.num_items_G[0] == 100


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_has_no_p_value_is_no_comparison() -> None:
    lone = Difference(0.5, None, None, None, 1)
    sure = Difference(0.5, 0.1, 0.3, 0.7, 40, p_value=0.04)
    corrected = correct({"lone": lone, "sure": sure})
    assert corrected["sure"].adjusted_p == 0.04 and corrected["sure"].verdict == "higher"
    assert corrected["lone"] == lone


def test_a_correction_takes_a_verdict_back() -> None:
    family = {place: Difference(0.5, 0.1, 0.3, 0.7, 40, p_value=0.02) for place in range(5)}
    assert {one.verdict for one in family.values()} == {"higher"}
    assert {one.verdict for one in correct(family).values()} == {INSIDE_THE_NOISE}
