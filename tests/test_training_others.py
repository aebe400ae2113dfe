"""When a training is behind the others of its sweep, by their curves of held-out bits per byte."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcpt_ray.training.guard import TrainingGivenUp, TrainingStopped
from rcpt_ray.training.guard_spec import GuardSpec, OthersSpec
from rcpt_ray.training.others import Behind, Curve, curve_of, find_behind, read_others, write_curve
from rcpt_ray.training.spec import TrainingSpec


def spec_of(folder: str = "/curves", name: str = "own", after_share: float = 0.25, min_others: int = 3) -> OthersSpec:
    return OthersSpec(folder=folder, name=name, after_share=after_share, min_others=min_others)


def curve(*bits: float, of: int = 4, has_ended: bool = False) -> Curve:
    """Bits per byte at the start and after each of `of` equal parts of the training."""
    return Curve(tuple((part / of, measured) for part, measured in enumerate(bits)), has_ended)


OTHERS = [curve(4.0, 3.0, 2.0), curve(4.0, 3.4, 2.2), curve(4.0, 3.2, 2.6)]


def test_a_training_above_the_median_of_the_others_is_behind() -> None:
    assert find_behind(curve(4.0, 3.3), OTHERS, spec_of()) == Behind(0.25, 3.3, 3.2, 3)
    assert find_behind(curve(4.0, 3.2), OTHERS, spec_of()) is None, "as good as the median is not behind"


def test_its_best_counts_and_not_a_bad_measurement() -> None:
    assert find_behind(curve(4.0, 2.1, 9.0), OTHERS, spec_of()) is None
    spoilt = [curve(4.0, other.measured[1][1], 9.0) for other in OTHERS]
    behind = find_behind(curve(4.0, 3.9, 3.3), spoilt, spec_of())
    assert behind is not None and behind.median == 3.2


def test_others_count_once_they_have_come_as_far() -> None:
    slow = [*OTHERS[:2], curve(4.0, 3.2)]
    assert find_behind(curve(4.0, 3.9, 3.9), slow, spec_of()) is None
    assert find_behind(curve(4.0, 3.9, 3.9), slow, spec_of(min_others=2)) == Behind(0.5, 3.9, 2.1, 2)


def test_a_training_that_has_ended_counts_with_its_best_from_then_on() -> None:
    """Else those that were given up would leave a median of the better ones alone."""
    ended = [curve(4.0, 3.5, has_ended=True), curve(4.0, 3.6, has_ended=True), curve(4.0, 2.5, 2.0)]
    assert find_behind(curve(4.0, 3.4, 3.3), ended, spec_of()) is None
    assert find_behind(curve(4.0, 3.6, 3.6), ended, spec_of()) == Behind(0.5, 3.6, 3.5, 3)


def test_none_is_given_up_too_early_before_it_begins_or_at_its_end() -> None:
    best = [curve(1.0, 1.0, 1.0, 1.0, 1.0)] * 3
    found = [find_behind(curve(*[4.0] * number), best, spec_of(after_share=0.5)) for number in range(1, 6)]
    assert [behind is not None for behind in found] == [False, False, True, True, False]
    assert find_behind(curve(4.0), best, spec_of(after_share=0.0)) is None


def test_trainings_of_other_lengths_are_compared_at_the_same_share_of_their_steps() -> None:
    """One that measures more seldom counts with what it had measured by then."""
    others = [curve(4.0, 3.9, 3.0, 2.0, 1.0, 0.5, of=5), curve(4.0, 2.0, of=1), curve(4.0, 3.0, 1.0, of=2)]
    assert find_behind(curve(4.0, 3.5, 3.1), others, spec_of()) == Behind(0.5, 3.1, 3.0, 3)


ROWS = st.lists(st.lists(st.floats(0.1, 9.0), min_size=6, max_size=6), min_size=2, max_size=9)


@given(ROWS)
def test_half_of_the_trainings_that_are_compared_at_every_measurement_come_to_their_end(
    rows: list[list[float]],
) -> None:
    spec = spec_of(after_share=0.0, min_others=1)
    ended: dict[int, int] = {}
    for number in range(1, 7):
        curves = [
            curve(*bits[: min(number, ended.get(place, 6))], of=5, has_ended=place in ended)
            for place, bits in enumerate(rows)
        ]
        for place, own in enumerate(curves):
            if place not in ended and find_behind(own, curves[:place] + curves[place + 1 :], spec) is not None:
                ended[place] = number
    assert len(rows) - len(ended) >= len(rows) // 2


@given(ROWS, st.integers(1, 4))
def test_what_others_measure_later_changes_no_verdict(rows: list[list[float]], number: int) -> None:
    own, *others = rows
    spec = spec_of(after_share=0.0, min_others=1)
    until_now, whole = ([curve(*bits[:end], of=5) for bits in others] for end in (number + 1, 6))
    assert find_behind(curve(*own[: number + 1], of=5), until_now, spec) == find_behind(
        curve(*own[: number + 1], of=5), whole, spec
    )


def test_a_curve_is_the_mean_over_the_domains_and_comes_back_from_its_file(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": step, "domain": domain, "bits_per_byte": bits}
        for step, of_domain in ((0, (4.0, 5.0)), (3, (1 / 3, 3.0)))
        for domain, bits in zip(("law", "stem"), of_domain, strict=True)
    ]
    found = curve_of(rows, 9)
    assert found.measured == ((0.0, 4.5), (3 / 9, (1 / 3 + 3.0) / 2)) and not found.has_ended
    for name in ("0003.s17", "0003.s18", "0004.s17"):
        write_curve(spec_of(str(tmp_path), name), Curve(found.measured, has_ended=name == "0004.s17"))
    others = read_others(spec_of(str(tmp_path), "0003.s17"))
    assert others == [found, Curve(found.measured, has_ended=True)]
    assert read_others(spec_of(str(tmp_path / "none"))) == []


def test_being_compared_changes_nothing_of_what_defines_a_training() -> None:
    watch = {"heldout_every_steps": 5}
    compared = TrainingSpec(watch=watch, guard=GuardSpec(others=spec_of()))
    assert compared.defining() == TrainingSpec().defining()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"guard": {"others": {"folder": "curves", "name": "own"}}}, "curves is no absolute path, and workers have"),
        ({"guard": {"others": {"folder": "/curves", "name": "a/b"}}}, "String should match pattern"),
        (
            {"guard": {"others": {"folder": "/curves", "name": "own"}}},
            "watch.heldout_every_steps=null does not measure them",
        ),
    ],
)
def test_settings_that_could_compare_nothing_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrainingSpec(**settings)


def test_a_training_given_up_stays_one_on_its_way_to_the_driver() -> None:
    there = pickle.loads(pickle.dumps(TrainingGivenUp("given up after 6 of 10 steps")))
    assert type(there) is TrainingGivenUp and isinstance(there, TrainingStopped)
    assert str(there) == "given up after 6 of 10 steps"
