"""Points of a sweep: grids, even randomness, shares that sum to one, and where a point lies."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sweep_trials import space_of

from rcpt_ray.sweep.space import (
    coordinates_of,
    grid_points,
    key_of,
    num_dimensions,
    point_at,
    position_of,
    random_points,
    stratified_point,
)

WEIGHTS = {"components": ["stem/thought", "law/thought", "stem/raw"], "step": 0.25}
LENGTH = {"values": [16, 48]}
RATE = {"low": 1e-4, "high": 1e-2, "scale": "log", "levels": 3}


def test_grid_holds_every_combination_once() -> None:
    points = grid_points(space_of(**{"mixture.weights": WEIGHTS, "training.learning_rate": RATE}))
    # Quarters among three components: 15 ways; three rates.
    assert len(points) == 45 == len({key_of(point) for point in points})
    assert {point["training.learning_rate"] for point in points} == {1e-4, 1e-3, 1e-2}
    assert all(abs(sum(point["mixture.weights"].values()) - 1) < 1e-9 for point in points)


def test_least_share_is_kept_from_every_component() -> None:
    points = grid_points(space_of(**{"mixture.weights": WEIGHTS | {"least": 0.25}}))
    assert [sorted(point["mixture.weights"].values()) for point in points] == [[0.25, 0.25, 0.5]] * 3


SPACES = st.fixed_dictionaries(
    {},
    optional={
        "mixture.weights": st.builds(
            lambda number, parts: {"components": [f"{name}/thought" for name in "abcde"[:number]], "step": 1 / parts},
            st.integers(2, 5),
            st.integers(2, 20),
        ),
        "training.learning_rate": st.just(RATE),
        "thoughts.asked_words": st.builds(
            lambda low, more: {"low": low, "high": low + more, "integer": True}, st.integers(1, 50), st.integers(1, 200)
        ),
        "mixture.layout": st.just({"values": ["thought_first", "interleaved"]}),
    },
).filter(bool)


@given(axes=SPACES, data=st.data())
def test_any_place_of_the_cube_is_a_point_of_the_space(axes: dict[str, Any], data: st.DataObject) -> None:
    space = space_of(**axes)
    size = num_dimensions(space)
    unit_D = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    point = point_at(unit_D, space)
    assert point.keys() == space.keys()
    position = position_of(point, space)
    for coordinate in coordinates_of(space):
        value = position[coordinate.name]
        if coordinate.names:
            assert value in coordinate.names
        else:
            assert isinstance(value, float) and coordinate.low - 1e-9 <= value <= coordinate.high + 1e-9
    shares = point.get("mixture.weights")
    if shares:
        step = axes["mixture.weights"]["step"]
        assert abs(sum(shares.values()) - 1) < 1e-6 and all(
            abs(share / step % 1 - 0.5) > 0.499 for share in shares.values()
        )


def test_random_points_are_the_same_by_seed_and_cover_the_simplex_evenly() -> None:
    space = space_of(**{"mixture.weights": WEIGHTS | {"step": 0.01}})
    points = list(itertools.islice(random_points(space, 3), 256))
    assert points == list(itertools.islice(random_points(space, 3), 256))
    assert points != list(itertools.islice(random_points(space, 4), 256))
    for component in WEIGHTS["components"]:
        mean = sum(point["mixture.weights"].get(component, 0.0) for point in points) / len(points)
        assert mean == pytest.approx(1 / 3, abs=0.03)
        # Uniform on the simplex: a share is above a half in a quarter of all points.
        above = sum(point["mixture.weights"].get(component, 0.0) > 0.5 for point in points) / len(points)
        assert above == pytest.approx(0.25, abs=0.05)


def test_stratified_point_has_equal_shares_and_the_rest_of_the_recipe() -> None:
    space = space_of(**{"mixture.weights": WEIGHTS, "thoughts.select.max_thought_tokens": LENGTH})
    own = {"mixture.weights": {"stem/thought": 1.0}, "thoughts.select.max_thought_tokens": 48}
    point = stratified_point(own, space)
    assert point is not None and point["thoughts.select.max_thought_tokens"] == 48
    assert list(point["mixture.weights"].values()) == [1 / 3] * 3
    assert stratified_point({"training.learning_rate": 0.1}, space_of(**{"training.learning_rate": RATE})) is None


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"values": [1, 1]}, "twice"),
        ({"values": [{"a": 1}, 2]}, "no single value"),
        ({"low": 2, "high": 1}, "must be below"),
        ({"low": 0, "high": 1, "scale": "log"}, "above 0"),
        ({"low": 0.5, "high": 3, "integer": True}, "whole numbers"),
        ({"components": ["a/raw", "a/raw"]}, "twice"),
        ({"components": ["a/raw", "b/raw"], "step": 0.3}, "multiple"),
        ({"components": ["a/raw", "b/raw"], "step": 0.5, "least": 0.5}, "no choice"),
        ({"low": 1}, "high"),
        ({"lowest": 1}, "low"),
    ],
)
def test_axis_without_sense_is_refused(axis: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        space_of(**{"training.learning_rate": axis})


@pytest.mark.parametrize(
    ("values", "is_log"),
    [([1e-5, 1e-4, 1e-3], True), ([16, 128], True), ([16, 48, 96], False), ([0, 64, 512], False), ([-8, -1], False)],
)
def test_listed_values_of_several_orders_of_magnitude_are_a_log_coordinate(values: list[float], is_log: bool) -> None:
    """Else a rate of 1e-4 would lie beside 1e-5, at one end of what was tried up to 1e-3."""
    (coordinate,) = coordinates_of(space_of(**{"training.learning_rate": {"values": values}}))
    assert coordinate.is_log == is_log
