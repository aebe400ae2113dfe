"""The running blend: each document as often as it may be, the shares at every moment, nothing by chance."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.training.stream.running_blend import TOLERANCE, Arrival, Draw, RunningBlend

LONGEST = 60
COMPONENTS = ["stem/thought", "law/raw", "web/replay"]


def arrivals(component: str, sizes: Sequence[int]) -> list[Arrival]:
    return [Arrival(component, f"{component}/{n}", size, "file", n) for n, size in enumerate(sizes)]


def drawn_now(blend: RunningBlend) -> list[Draw]:
    found = []
    while (draw := blend.draw()) is not None:
        found.append(draw)
    return found


def names(draws: Sequence[Draw]) -> list[str]:
    return [draw.document.doc_id for draw in draws]


def blend_of(
    weights: dict[str, float] | None = None, num_tokens: int | None = None, max_repeats: float = 4.0
) -> RunningBlend:
    return RunningBlend(COMPONENTS, weights, num_tokens, max_repeats)


def test_without_weights_documents_are_drawn_once_as_they_come() -> None:
    blend = blend_of()
    come = arrivals("stem/thought", [5, 9]) + arrivals("law/raw", [100])
    for document in come:
        blend.arrive(document)
    assert names(drawn_now(blend)) == [document.doc_id for document in come]
    assert not blend.is_over, "there may be more"
    blend.close([])
    assert blend.is_over


def test_component_that_is_behind_is_waited_for() -> None:
    blend = blend_of({"stem/thought": 0.5, "law/raw": 0.5})
    for document in arrivals("law/raw", [10] * 50):
        blend.arrive(document)
    blend.close(["stem/thought"])
    assert drawn_now(blend) == []
    for document in arrivals("stem/thought", [10] * 3):
        blend.arrive(document)
    assert Counter(draw.document.component for draw in drawn_now(blend)) == {"stem/thought": 3, "law/raw": 3}
    blend.close([])
    assert blend.is_over, "the share can no longer be kept"


def test_budget_ends_the_drawing_at_the_nearest_document() -> None:
    for budget, num_drawn in ((25, 2), (26, 3), (30, 3), (34, 3)):
        blend = blend_of(num_tokens=budget)
        for document in arrivals("law/raw", [10] * 9):
            blend.arrive(document)
        assert (len(drawn_now(blend)), blend.is_over) == (num_drawn, True)


def test_documents_are_drawn_again_only_when_nothing_new_can_come() -> None:
    blend = blend_of(num_tokens=60)
    for document in arrivals("law/raw", [10, 10]):
        blend.arrive(document)
    assert len(drawn_now(blend)) == 2
    blend.close([])
    again = drawn_now(blend)
    assert [(draw.document.doc_id, draw.repeat) for draw in again] == [
        (f"law/raw/{n}", repeat) for repeat in (1, 2) for n in (0, 1)
    ]


def test_documents_are_drawn_as_often_as_max_repeats_and_no_more() -> None:
    blend = blend_of(num_tokens=1000, max_repeats=2.5)
    for document in arrivals("law/raw", [10, 10]):
        blend.arrive(document)
    blend.close([])
    assert (len(drawn_now(blend)), blend.is_over) == (5, True)


def test_blend_that_begins_again_draws_what_was_not_drawn() -> None:
    first = blend_of({"stem/thought": 0.6, "law/raw": 0.4})
    come = arrivals("stem/thought", [10] * 12) + arrivals("law/raw", [10] * 12)
    for document in come:
        first.arrive(document)
    before = [first.draw() for _ in range(7)]
    second = blend_of({"stem/thought": 0.6, "law/raw": 0.4})
    seen = {draw.document for draw in before if draw is not None}
    for document in seen:
        second.count(document.component, document.num_tokens)
    for document in come:
        second.arrive(document, num_drawn=int(document in seen))
    assert names(drawn_now(second)) == names(drawn_now(first))


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of three components in any order, with any weights."""
    shares = [draw(st.integers(1, 5)) for _ in COMPONENTS]
    sizes = {name: draw(st.lists(st.integers(1, LONGEST), max_size=40)) for name in COMPONENTS}
    come = [document for name in COMPONENTS for document in arrivals(name, sizes[name])]
    random.Random(draw(st.integers(0, 99))).shuffle(come)
    total = sum(document.num_tokens for document in come)
    return {
        "come": come,
        "weights": {name: share / sum(shares) for name, share in zip(COMPONENTS, shares, strict=True)},
        "num_tokens": draw(st.none() | st.integers(1, 3 * total + 1)),
        "max_repeats": draw(st.sampled_from([1.0, 1.5, 3.0])),
    }


def run(stream: dict[str, Any], weights: dict[str, float] | None) -> list[Draw]:
    """All draws, a try after each arrival."""
    blend, draws = blend_of(weights, stream["num_tokens"], stream["max_repeats"]), list[Draw]()
    for document in stream["come"]:
        blend.arrive(document)
        draws += drawn_now(blend)
    blend.close([])
    draws += drawn_now(blend)
    assert blend.is_over
    return draws


@settings(max_examples=150, deadline=None)
@given(stream=streams(), has_weights=st.booleans())
def test_no_document_is_drawn_more_often_than_it_may_be(stream: dict[str, Any], has_weights: bool) -> None:
    draws = run(stream, stream["weights"] if has_weights else None)
    keys = [(draw.document.doc_id, draw.repeat) for draw in draws]
    assert len(set(keys)) == len(keys)
    most = 1 if stream["num_tokens"] is None else stream["max_repeats"]
    for pool in COMPONENTS if has_weights else [None]:
        of_pool = [draw for draw in draws if pool in (None, draw.document.component)]
        arrived = sum(one.num_tokens for one in stream["come"] if pool in (None, one.component))
        assert sum(draw.document.num_tokens for draw in of_pool) <= most * arrived + 0.5


@settings(max_examples=150, deadline=None)
@given(stream=streams())
def test_shares_hold_at_every_moment_to_within_a_document(stream: dict[str, Any]) -> None:
    """Drawn while furthest below, a component is above its target by one document at most, else by the tolerance."""
    drawn, total, weights = Counter[str](), 0, stream["weights"]
    for draw in run(stream, stream["weights"]):
        drawn[draw.document.component] += draw.document.num_tokens
        total += draw.document.num_tokens
        for name, share in weights.items():
            assert drawn[name] <= (share + TOLERANCE) * total + LONGEST
    if stream["num_tokens"] is not None and abs(total - stream["num_tokens"]) <= LONGEST:
        return
    behind = min(weights, key=lambda name: (drawn[name] - weights[name] * total, -weights[name]))
    arrived = sum(one.num_tokens for one in stream["come"] if one.component == behind)
    most = arrived if stream["num_tokens"] is None else stream["max_repeats"] * arrived - LONGEST
    assert drawn[behind] >= most, "the drawing ended although the component that is behind had more to give"


@settings(max_examples=100, deadline=None)
@given(stream=streams())
def test_without_weights_and_budget_every_document_is_drawn_once(stream: dict[str, Any]) -> None:
    draws = run(stream | {"num_tokens": None}, None)
    assert names(draws) == [document.doc_id for document in stream["come"]]


@settings(max_examples=150, deadline=None)
@given(stream=streams(), sizes=st.lists(st.integers(1, 30), min_size=1))
def test_without_weights_draws_depend_on_the_order_of_arrival_alone(stream: dict[str, Any], sizes: list[int]) -> None:
    """Not on how many arrive at once; with weights, what is there at a draw may stand in for what is behind."""
    blend, draws = blend_of(None, stream["num_tokens"], stream["max_repeats"]), list[Draw]()
    come, chunks = iter(stream["come"]), itertools.cycle(sizes)
    while chunk := list(itertools.islice(come, next(chunks))):
        for document in chunk:
            blend.arrive(document)
        draws += drawn_now(blend)
    blend.close([])
    draws += drawn_now(blend)
    assert draws == run(stream, None)
