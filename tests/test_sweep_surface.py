"""A response surface says where the best lies as surely as it may: planted optima are found, and noise is not."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from rcpt_ray.sweep.space import Settings, coordinates_of, grid_points, key_of, position_of, random_points
from rcpt_ray.sweep.spec import Axis, RangeAxis, SimplexAxis, ValuesAxis
from rcpt_ray.sweep.surface.candidates import Barred
from rcpt_ray.sweep.surface.features import features_of
from rcpt_ray.sweep.surface.fit import Observations, Surface, fit_surface
from rcpt_ray.sweep.surface.importance import along, importance
from rcpt_ray.sweep.surface.members import is_member, members_of
from rcpt_ray.sweep.surface.optimum import Optimum, find_optimum

WEIGHTS, LENGTH, LAYOUT = "mixture.weights", "thoughts.max_tokens", "mixture.layout"
MIXED: dict[str, Axis] = {
    WEIGHTS: SimplexAxis(components=["a", "b", "c"], step=0.25),
    LENGTH: ValuesAxis(values=[0, 64, 128, 192, 256]),
}
FINE: dict[str, Axis] = MIXED | {WEIGHTS: SimplexAxis(components=["a", "b", "c"], step=0.125)}
LENGTHS: dict[str, Axis] = {LENGTH: RangeAxis(low=16, high=256, integer=True)}
LAYOUTS: dict[str, Axis] = {LAYOUT: ValuesAxis(values=["packed", "interleaved", "text_only", "turns"])}

Truth = Callable[[Settings], float]


def from_peak(point: Settings) -> float:
    """Squared distance from a=0.5, b=0.25, c=0.25 and length 128, axes being 1 long."""
    where = position_of(point, MIXED)
    a, b, c, length = (float(where[name]) for name in ("a", "b", "c", LENGTH))
    return (a - 0.5) ** 2 + (b - 0.25) ** 2 + (c - 0.25) ** 2 + (length / 256 - 0.5) ** 2


def quadratic(point: Settings) -> float:
    return -3 * from_peak(point)


def bump(point: Settings) -> float:
    """A peak half as wide as the space: no polynomial."""
    return float(np.exp(-from_peak(point) / (2 * 0.3**2)))


def saturating(point: Settings) -> float:
    """Bits saved by shares with diminishing returns, and by thoughts up to a length."""
    where = position_of(point, MIXED)
    a, b, c, length = (float(where[name]) for name in ("a", "b", "c", LENGTH))
    return float(
        0.6 * np.log(0.08 + a)
        + 0.3 * np.log(0.08 + b)
        + 0.1 * np.log(0.08 + c)
        + 2 * length * np.exp(-3 * length / 256) / 256
    )


def plane(point: Settings) -> float:
    """Best in a corner."""
    where = position_of(point, MIXED)
    return float(where["a"]) + 0.6 * float(where["b"]) + float(where[LENGTH]) / 800


def flat(_: Settings) -> float:
    return 0.0


def tried_points(space: Mapping[str, Axis], count: int, seed: int) -> list[Settings]:
    """As the random searcher asks for them, each once."""
    found: dict[str, Settings] = {}
    for point in random_points(space, seed):
        found.setdefault(key_of(point), point)
        if len(found) == count:
            break
    return list(found.values())


def observe(
    truth: Truth, space: Mapping[str, Axis], count: int, seed: int, noise: float, num_seeds: int = 2
) -> Observations:
    """Points with values about the truth."""
    points = tried_points(space, count, seed)
    generator = np.random.default_rng(seed)
    values = [(truth(point) + generator.normal(0, noise, num_seeds)).tolist() for point in points]
    return Observations(points, values)


def fitted(space: Mapping[str, Axis], observations: Observations) -> Surface:
    surface = fit_surface(space, observations, seed=17)
    assert surface is not None
    return surface


@dataclass(frozen=True)
class Found:
    surface: Surface
    optimum: Optimum
    truth_at_point: float


def repeated(
    truth: Truth,
    repetitions: int,
    noise_share: float,
    confidence: float,
    count: int = 15,
    num_seeds: int = 2,
    space: Mapping[str, Axis] = MIXED,
) -> Iterator[Found]:
    """Sweeps that differ in points and noise; the noise is a share of the truth's spread."""
    spread = float(np.std([truth(point) for point in grid_points(space)])) or 1.0
    for seed in range(repetitions):
        observations = observe(truth, space, count, seed, noise_share * spread, num_seeds)
        surface = fit_surface(space, observations, seed)
        assert surface is not None
        optimum = find_optimum(surface, space, observations, "maximize", confidence, seed)
        yield Found(surface, optimum, truth(optimum.point))


def fewest_hits(repetitions: int, rate: float) -> int:
    """Fewer are seen once in a hundred times where each is a hit at the rate."""
    return int(binom.ppf(0.01, repetitions, rate))


def must_cover(truth: Truth, repetitions: int, noise_share: float, confidence: float, **more: Any) -> list[Found]:
    """The region covers the true best, and holds the chosen point, at the stated rate."""
    best = max(grid_points(MIXED), key=truth)
    found = list(repeated(truth, repetitions, noise_share, confidence, **more))
    covered = sum(one.optimum.holds(best) for one in found)
    assert covered >= fewest_hits(repetitions, confidence), f"{covered} of {repetitions}"
    assert all(one.optimum.holds(one.optimum.point) for one in found)
    return found


@pytest.mark.parametrize(("truth", "space", "repetitions"), [(quadratic, MIXED, 40), (bump, FINE, 16)])
def test_the_region_covers_a_planted_optimum_at_the_stated_rate(
    truth: Truth, space: dict[str, Axis], repetitions: int
) -> None:
    found = must_cover(truth, repetitions=repetitions, noise_share=0.2, confidence=0.9, space=space)
    assert np.mean([one.optimum.share for one in found]) < 0.8  # it rules something out
    assert np.mean([one.surface.cv_skill for one in found]) > 0.3
    by_chance = np.mean([truth(point) for point in grid_points(MIXED)])
    assert np.mean([one.truth_at_point for one in found]) > (by_chance + truth(max(grid_points(MIXED), key=truth))) / 2


@pytest.mark.slow
@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(("count", "num_seeds"), [(8, 2), (15, 1), (30, 2)])
@pytest.mark.parametrize("noise_share", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("truth", [quadratic, bump, saturating, plane])
def test_the_region_covers_over_points_noise_and_confidence(
    truth: Truth, noise_share: float, count: int, num_seeds: int, confidence: float
) -> None:
    must_cover(truth, 100, noise_share, confidence, count=count, num_seeds=num_seeds)


def test_the_interval_holds_the_response_at_the_chosen_point() -> None:
    found = list(repeated(saturating, 30, noise_share=0.4, confidence=0.9))
    assert sum(one.optimum.low <= one.truth_at_point <= one.optimum.high for one in found) >= fewest_hits(30, 0.9)


def test_where_all_is_alike_nothing_is_told_apart_and_the_surface_has_no_skill() -> None:
    found = list(repeated(flat, 25, noise_share=1.0, confidence=0.9))
    assert np.mean([one.optimum.share for one in found]) > 0.9
    assert np.mean([len(one.optimum.indistinguishable) for one in found]) > 0.9 * 15
    assert np.mean([one.surface.cv_skill for one in found]) < 0.05
    assert sum(one.surface.cv_skill > 0.3 for one in found) <= 3


def test_more_points_and_seeds_narrow_the_region() -> None:
    few, many = (
        find_optimum(fitted(MIXED, seen), MIXED, seen, "maximize", 0.9, seed=1)
        for seen in (observe(quadratic, MIXED, 10, 3, 0.1), observe(quadratic, MIXED, 40, 3, 0.1, num_seeds=4))
    )
    assert many.share < few.share
    assert many.high - many.low < few.high - few.low


def test_the_error_is_that_of_fitting_without_each_point() -> None:
    seen = observe(bump, MIXED, 14, seed=5, noise=0.05, num_seeds=1)
    errors = []
    for left_out in range(14):
        others = [place for place in range(14) if place != left_out]
        rest = Observations([seen.points[place] for place in others], [seen.values[place] for place in others])
        errors.append(seen.values[left_out][0] - fitted(MIXED, rest).predict([seen.points[left_out]])[0][0])
    surface = fitted(MIXED, seen)
    assert surface.cv_error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.1)
    means = np.ravel(seen.values)
    from_others = [mean - np.mean(np.delete(means, place)) for place, mean in enumerate(means)]
    assert surface.cv_skill == pytest.approx(1 - surface.cv_error**2 / np.mean(np.square(from_others)))


def test_noise_is_the_spread_between_seeds_of_a_point() -> None:
    points = tried_points(MIXED, 3, seed=0)
    surface = fitted(MIXED, Observations(points, [[1.0, 3.0], [5.0], [7.0, 7.0, 10.0]]))
    assert (surface.num_points, surface.num_measured, surface.num_trainings) == (3, 3, 6)
    assert surface.noise == pytest.approx(np.sqrt((2 + 6) / 3))
    assert fitted(MIXED, Observations(points, [[1.0], [5.0], [7.0]])).noise is None


def test_two_points_say_nothing() -> None:
    assert fit_surface(MIXED, observe(bump, MIXED, 2, seed=0, noise=0.1), seed=0) is None


def test_the_same_seed_says_the_same_whatever_else_is_asked() -> None:
    space = MIXED | {LENGTH: RangeAxis(low=0, high=256)}
    seen = observe(bump, space, 12, seed=2, noise=0.2)
    first, again = (find_optimum(fitted(space, seen), space, seen, "maximize", 0.9, seed=4) for _ in range(2))
    assert first.point == again.point
    assert (first.low, first.high, first.region) == (again.low, again.high, again.region)
    one_by_one = [place for place, point in enumerate(seen.points) if first.holds(point)]
    assert first.indistinguishable == one_by_one == again.indistinguishable
    surface = fitted(space, seen)
    assert importance(surface, space, 9) == importance(fitted(space, seen), space, 9)


def test_the_least_of_a_response_is_the_most_of_its_negative() -> None:
    seen = observe(bump, MIXED, 15, seed=6, noise=0.1)
    negative = Observations(seen.points, [[-value for value in values] for values in seen.values])
    most = find_optimum(fitted(MIXED, seen), MIXED, seen, "maximize", 0.9, seed=1)
    least = find_optimum(fitted(MIXED, negative), MIXED, negative, "minimize", 0.9, seed=1)
    assert (least.point, least.region, least.indistinguishable) == (most.point, most.region, most.indistinguishable)
    assert (least.low, least.high) == pytest.approx((-most.high, -most.low))


def test_a_response_in_other_units_has_the_same_region() -> None:
    seen = observe(bump, MIXED, 15, seed=6, noise=0.1)
    scaled = Observations(seen.points, [[1e6 + 1e3 * value for value in values] for values in seen.values])
    plain = find_optimum(fitted(MIXED, seen), MIXED, seen, "maximize", 0.9, seed=1)
    other = find_optimum(fitted(MIXED, scaled), MIXED, scaled, "maximize", 0.9, seed=1)
    assert (other.point, other.region) == (plain.point, plain.region)
    assert other.value == pytest.approx(1e6 + 1e3 * plain.value, rel=1e-9)


def test_the_chosen_point_is_one_that_a_searcher_could_ask_for() -> None:
    """The stratified baseline is no multiple of the step: it may be the best tried, and is not chosen."""
    thirds = {WEIGHTS: dict.fromkeys("abc", 1 / 3), LENGTH: 128}
    seen = observe(quadratic, MIXED, 12, seed=1, noise=0.01)
    seen = Observations([*seen.points, thirds], [*seen.values, [5.0, 5.0]])
    optimum = find_optimum(fitted(MIXED, seen), MIXED, seen, "maximize", 0.9, seed=1)
    assert not is_member(thirds, MIXED)
    assert is_member(optimum.point, MIXED)


def test_what_a_rule_refuses_is_not_chosen_and_no_rival() -> None:
    """Best in the corner a = 1, which the recipe refuses: what is left is judged among itself."""
    seen = observe(plane, MIXED, 20, seed=2, noise=0.02)
    surface, corner = fitted(MIXED, seen), {WEIGHTS: {"a": 1.0}, LENGTH: 256}
    plain = find_optimum(surface, MIXED, seen, "maximize", 0.9, seed=1)
    assert plain.point == corner

    def allowed(point: Settings) -> bool:
        return point[WEIGHTS].get("a", 0.0) < 1

    known = [place for place, point in enumerate(seen.points) if allowed(point)]
    seen = Observations([seen.points[place] for place in known], [seen.values[place] for place in known])
    optimum = find_optimum(fitted(MIXED, seen), MIXED, seen, "maximize", 0.9, 1, allowed)
    assert optimum.point == {WEIGHTS: {"a": 0.75, "b": 0.25}, LENGTH: 256}
    assert optimum.holds(optimum.point) and not optimum.holds(corner)
    assert optimum.region["a"][1] == 0.75


def test_a_recipe_is_asked_about_few_members() -> None:
    """A check of a recipe takes a millisecond, and there may be 2,000 members."""
    space: dict[str, Axis] = FINE | {"training.learning_rate": RangeAxis(low=1e-5, high=1e-3, scale="log")}
    seen, asked = observe(quadratic, space, 15, seed=1, noise=0.1), list[str]()

    def allowed(point: Settings) -> bool:
        asked.append(key_of(point))
        return point[LENGTH] < 256 or "c" not in point[WEIGHTS]

    optimum = find_optimum(fitted(space, seen), space, seen, "maximize", 0.9, 1, allowed)
    assert allowed(optimum.point)
    assert len(members_of(space, seen.points, 1)) > 900
    assert len(set(asked)) == len(asked) - 1 < 500


def test_the_optimum_does_not_lie_where_trials_were_stopped() -> None:
    """A line that rises to where trials fell behind: the surface goes on rising there, and knows nothing of it."""
    space: dict[str, Axis] = {LENGTH: RangeAxis(low=0, high=100, integer=True)}
    seen = Observations([{LENGTH: length} for length in (0, 20, 40, 60)], [[0.0], [0.2], [0.41], [0.6]])
    surface = fitted(space, seen)
    assert find_optimum(surface, space, seen, "maximize", 0.9, 1).point[LENGTH] > 90
    stopped = [{LENGTH: 80}, {LENGTH: 95}]
    optimum = find_optimum(surface, space, seen, "maximize", 0.9, 1, barred=Barred(unknown=stopped))
    assert 60 <= optimum.point[LENGTH] <= 70, "half way to the stopped one at most"
    assert optimum.region[LENGTH][1] <= 70
    assert not any(optimum.holds_all(stopped))
    refused = find_optimum(surface, space, seen, "maximize", 0.9, 1, barred=Barred(refused=[{LENGTH: 100}]))
    assert not refused.holds({LENGTH: 100}) and refused.point != {LENGTH: 100}


def test_points_of_one_training_tell_nothing_of_what_is_between_them() -> None:
    """Length makes no difference at a share of 0, and much at a share of 1.

    Taken as readings of their own, the equal ones would narrow the noise and flatten the length at other shares.
    """
    share = "mixture.thought_share"
    space: dict[str, Axis] = {share: ValuesAxis(values=[0, 0.5, 1]), LENGTH: ValuesAxis(values=[0, 50, 100, 150, 200])}
    points = grid_points(space)
    generator = np.random.default_rng(4)
    noise = [generator.normal(0, 0.03, 2) for _ in points]

    def values(place: int) -> list[float]:
        point = points[place]
        real = point[share] * (1 - ((point[LENGTH] - 100) / 100) ** 2)
        return (real + noise[0 if point[share] == 0 else place]).tolist()

    places = [list(range(5)), *([place] for place in range(5, 15))]
    once = fitted(space, Observations(points, [values(own[0]) for own in places], places))
    often = fitted(space, Observations(points, [values(place) for place in range(15)]))
    assert (once.num_points, once.num_measured, once.num_trainings, once.degrees) == (15, 11, 22, 21)
    assert once.noise == pytest.approx(np.sqrt(sum(np.var(values(own[0])) * 2 for own in places) / 11))
    assert once.noise != often.noise
    mean_N = once.means(points[:5])
    assert np.mean(mean_N) == pytest.approx(np.mean(values(0)), abs=0.05)
    apart = [surface.joint([points[0]], [])[1][0] for surface in (once, often)]
    assert apart[0] > apart[1], "that there is nothing between them is not told as if it had been measured five times"
    seen = Observations(points, [values(own[0]) for own in places], places)
    optimum = find_optimum(once, space, seen, "maximize", 0.9, 1)
    assert optimum.point == {share: 1, LENGTH: 100}
    assert len(set(optimum.holds_all(points[:5]))) == 1


def test_an_axis_without_influence_has_little_importance() -> None:
    space: dict[str, Axis] = MIXED | {"training.epochs": ValuesAxis(values=[1, 2, 3])}
    seen = observe(quadratic, space, 40, seed=3, noise=0.05)
    shares = importance(fitted(space, seen), space, seed=0)
    assert list(shares) == [WEIGHTS, "a", "b", "c", LENGTH, "training.epochs"]
    assert shares["training.epochs"] < 0.03
    assert shares[WEIGHTS] > 0.4
    assert shares[LENGTH] > 0.1


def test_importance_of_a_plane_is_what_the_plane_says() -> None:
    """Of x + 2 y over a square the shares are 1 and 4 of 5."""
    space: dict[str, Axis] = {"training.x": RangeAxis(low=0, high=1), "training.y": RangeAxis(low=0, high=1)}
    seen = observe(lambda point: float(point["training.x"] + 2 * point["training.y"]), space, 20, 0, 1e-3)
    shares = importance(fitted(space, seen), space, seed=0)
    assert shares == pytest.approx({"training.x": 0.2, "training.y": 0.8}, abs=0.02)


def test_along_a_component_the_others_keep_their_proportions() -> None:
    seen = observe(quadratic, MIXED, 20, seed=3, noise=0.02)
    surface = fitted(MIXED, seen)
    through = {WEIGHTS: {"a": 0.5, "b": 0.5}, LENGTH: 128}
    rows = along(surface, MIXED, "a", through, 0.9)
    assert [rows[0][0], rows[-1][0]] == [0.0, 1.0]
    assert all(low < mean < high for _, mean, low, high in rows)
    assert rows[0][1] == pytest.approx(surface.predict([{WEIGHTS: {"b": 1.0}, LENGTH: 128}])[0][0])
    own = next(mean for value, mean, _, _ in rows if value == 0.5)
    assert own == pytest.approx(surface.predict([through])[0][0])
    wider = along(surface, MIXED, "a", through, 0.99)
    assert all(one[3] < other[3] for one, other in zip(rows, wider, strict=True))
    from_corner = along(surface, MIXED, "a", {WEIGHTS: {"a": 1.0}, LENGTH: 128}, 0.9)
    assert from_corner[0][1] == pytest.approx(surface.predict([{WEIGHTS: {"b": 0.5, "c": 0.5}, LENGTH: 128}])[0][0])


def test_along_numbers_and_names() -> None:
    space = LAYOUTS | {"training.learning_rate": RangeAxis(low=1e-5, high=1e-3, scale="log")}
    seen = observe(lambda point: float(point[LAYOUT] == "packed"), space, 16, seed=0, noise=0.01)
    surface = fitted(space, seen)
    through = {LAYOUT: "turns", "training.learning_rate": 1e-4}
    by_name = {row[0]: row[1] for row in along(surface, space, LAYOUT, through, 0.9)}
    assert max(by_name, key=lambda name: by_name[name]) == "packed"
    rates = [float(row[0]) for row in along(surface, space, "training.learning_rate", through, 0.9)]
    assert (rates[0], rates[-1]) == (1e-5, 1e-3)
    assert 1e-4 in rates
    best = find_optimum(surface, space, seen, "maximize", 0.9, seed=0)
    assert best.region[LAYOUT] == ("packed",)


def test_features_run_from_end_to_end_of_each_axis() -> None:
    space: dict[str, Axis] = {
        WEIGHTS: SimplexAxis(components=["a", "b"], step=0.1, least=0.1),
        "training.learning_rate": RangeAxis(low=1e-5, high=1e-3, scale="log"),
        LAYOUT: ValuesAxis(values=["packed", "turns"]),
    }
    point = {WEIGHTS: {"a": 0.9, "b": 0.1}, "training.learning_rate": 1e-4, LAYOUT: "turns"}
    assert features_of([point], space) == pytest.approx(np.array([[1, -1, 0, 0, 2**0.5]]), abs=1e-12)


SIX: dict[str, Axis] = {f"training.x{number}": RangeAxis(low=0, high=1) for number in range(5)} | LAYOUTS
PAIR: dict[str, Axis] = {WEIGHTS: SimplexAxis(components=["a", "b"], step=0.05, least=0.1)}
FIVE: dict[str, Axis] = {WEIGHTS: SimplexAxis(components=list("abcde"), step=0.05)}


@pytest.mark.parametrize(
    ("space", "count", "values"),
    [
        pytest.param(MIXED, 12, [[2.5]] * 12, id="equal values"),
        pytest.param(MIXED, 12, [[0.1 + 0.2], [0.3]] * 6, id="values that differ by rounding"),
        pytest.param(MIXED, 12, [[1.0, 1.0], [2.0, 2.0]] * 6, id="seeds that agree"),
        pytest.param(MIXED, 12, [[1.0, 2.0], [2.0, 1.0]] * 6, id="equal means of unequal seeds"),
        pytest.param(MIXED, 3, [[1.0], [2.0], [4.0]], id="three points"),
        pytest.param(MIXED, 12, [[1.0], [2.0, 2.5], [1e12]] * 4, id="values of other worlds"),
        pytest.param(LAYOUTS, 4, [[1.0, 1.1], [2.0, 2.1], [3.0], [4.0]], id="names only"),
        pytest.param(LENGTHS, 5, [[1.0], [2.0], [3.0], [2.0], [1.0]], id="one axis"),
        pytest.param(PAIR, 6, [[1.0], [2.0], [3.0], [2.0], [1.0], [0.0]], id="two shares"),
        pytest.param(FIVE, 15, [[float(number % 4)] for number in range(15)], id="a large simplex"),
        pytest.param(SIX, 20, [[float(number % 7)] for number in range(20)], id="six axes"),
    ],
)
def test_odd_sweeps_get_an_answer_without_a_warning(
    space: dict[str, Axis], count: int, values: list[list[float]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = Observations(tried_points(space, count, seed=0), values)
        surface = fitted(space, seen)
        optimum = find_optimum(surface, space, seen, "minimize", 0.9, seed=0)
        shares = importance(surface, space, seed=0)
        rows = [along(surface, space, one.name, optimum.point, 0.9) for one in coordinates_of(space)]
    assert is_member(optimum.point, space)
    assert optimum.holds(optimum.point)
    assert optimum.low <= optimum.value <= optimum.high
    figures = [surface.cv_error, surface.cv_skill, optimum.low, optimum.high, *shares.values()]
    assert np.isfinite(figures).all()
    assert all(low <= mean <= high for row in rows for _, mean, low, high in row)


def test_equal_values_are_all_as_good() -> None:
    seen = Observations(tried_points(MIXED, 12, seed=0), [[2.5]] * 12)
    optimum = find_optimum(fitted(MIXED, seen), MIXED, seen, "minimize", 0.9, seed=0)
    assert optimum.share == 1
    assert optimum.indistinguishable == list(range(12))
    assert optimum.region[LENGTH] == (0, 256)
    assert set(importance(fitted(MIXED, seen), MIXED, seed=0).values()) == {0.0}


axes: dict[str, st.SearchStrategy[Any]] = {
    WEIGHTS: st.builds(
        SimplexAxis,
        components=st.sampled_from([["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"]]),
        step=st.sampled_from([0.05, 0.1, 0.5]),
    ),
    LENGTH: st.just(RangeAxis(low=1, high=9, integer=True)),
    LAYOUT: st.just(ValuesAxis(values=["packed", True, None])),
}


@settings(max_examples=15, deadline=None)
@given(st.fixed_dictionaries({WEIGHTS: axes[WEIGHTS]}, optional={LENGTH: axes[LENGTH], LAYOUT: axes[LAYOUT]}))
def test_all_points_that_are_looked_at_are_members_and_distinct(space: dict[str, Axis]) -> None:
    outside = {WEIGHTS: {"a": 1 / 3, "b": 2 / 3}, LENGTH: 2, LAYOUT: None}
    members = members_of(space, [outside], seed=1)
    assert all(is_member(point, space) for point in members)
    assert len({key_of(point) for point in members}) == len(members)
    assert not is_member(outside, space)
