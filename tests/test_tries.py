"""A poison request is cornered, no innocent one is rejected, and what is finished is not tried again."""

import math
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from thoughts_fixtures import thought

from rcpt_ray.thoughts.tries import Span, Tries, Verdict, plan_spans

SPANS = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda ends: Span(min(ends), max(ends)))


def pieces_of(span: Span) -> list[Span]:
    """A span with its halves, their halves and so on."""
    return [span] if len(span) == 1 else [span, *(piece for half in span.halves() for piece in pieces_of(half))]


@given(size=st.integers(1, 40), drawn=st.data())
def test_pieces_cover_a_shard_without_overlap_whatever_happened_before(size: int, drawn: st.DataObject) -> None:
    spans = st.one_of(st.sampled_from(pieces_of(Span(0, size))), SPANS)
    finished = drawn.draw(st.sets(spans, max_size=8))
    deaths = drawn.draw(st.dictionaries(spans, st.integers(0, 4), max_size=30))
    pieces = [span for span, _ in plan_spans(Span(0, size), finished, deaths)]
    assert [number for span in pieces for number in range(span.start, span.stop)] == list(range(size))


@given(size=st.integers(1, 40), drawn=st.data())
def test_nothing_is_rejected_that_is_not_alone_with_two_deaths(size: int, drawn: st.DataObject) -> None:
    pieces = pieces_of(Span(0, size))
    deaths = drawn.draw(st.dictionaries(st.sampled_from(pieces), st.integers(0, 4)))
    plan = plan_spans(Span(0, size), set(), deaths)
    rejected = [span for span, verdict in plan if verdict == "reject"]
    assert all(len(span) == 1 and deaths[span] >= 2 for span in rejected)


class Shard:
    """Requests of which some are poison: a piece with one of them ends its engine."""

    def __init__(self, size: int, poisons: set[int]) -> None:
        self._whole, self._poisons = Span(0, size), poisons
        self.finished: set[Span] = set()
        self.deaths: Counter[Span] = Counter()

    def plan(self) -> list[tuple[Span, Verdict]]:
        return plan_spans(self._whole, self.finished, self.deaths)

    def next(self) -> Span | None:
        return next((span for span, verdict in self.plan() if verdict == "try"), None)

    def tried(self, span: Span) -> None:
        if any(Span(poison, poison + 1) in span for poison in self._poisons):
            self.deaths[span] += 1
        else:
            self.finished.add(span)

    def done(self) -> set[int]:
        """Try until nothing is left; the requests that are rejected."""
        while (span := self.next()) is not None:
            self.tried(span)
        return {span.start for span, verdict in self.plan() if verdict == "reject"}


SHARDS = st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, size - 1))))


def price(size: int) -> int:
    """Engines that one poison may cost."""
    return 2 * math.ceil(math.log2(size)) + 4


@given(size=st.integers(1, 3000), drawn=st.data())
def test_one_poison_alone_is_rejected_at_the_price_of_few_engines(size: int, drawn: st.DataObject) -> None:
    poison = drawn.draw(st.integers(0, size - 1))
    shard = Shard(size, {poison})
    assert shard.done() == {poison}
    assert shard.deaths.total() <= price(size)


@given(size_and_poisons=SHARDS)
def test_of_several_poisons_each_is_rejected_and_no_other(size_and_poisons: tuple[int, set[int]]) -> None:
    size, poisons = size_and_poisons
    shard = Shard(size, poisons)
    assert shard.done() == poisons
    assert shard.deaths.total() <= len(poisons) * price(size)


@given(size_and_poisons=SHARDS, num_tries=st.integers(0, 20))
def test_command_that_goes_on_finds_the_same_poisons_and_tries_nothing_twice_that_was_finished(
    size_and_poisons: tuple[int, set[int]], num_tries: int
) -> None:
    """The first command ends after some tries; its deaths are forgotten, its finished pieces are not."""
    size, poisons = size_and_poisons
    shard = Shard(size, poisons)
    for _ in range(num_tries):
        if (span := shard.next()) is not None:
            shard.tried(span)
    shard.deaths.clear()
    before = set(shard.finished)
    tried = []
    while (span := shard.next()) is not None:
        tried.append(span)
        shard.tried(span)
    assert shard.done() == poisons
    assert not [again for again in tried for done in before if done in again or again in done]


def test_shard_is_tried_whole_twice_and_then_by_halves() -> None:
    whole, (left, right) = Span(0, 4), Span(0, 4).halves()
    assert plan_spans(whole, set(), {}) == [(whole, "try")]
    assert plan_spans(whole, set(), {whole: 1}) == [(whole, "try")]
    assert plan_spans(whole, set(), {whole: 2}) == [(left, "try"), (right, "try")]
    assert plan_spans(whole, {left}, {whole: 2, right: 1}) == [
        (left, "finished"),
        (Span(2, 3), "try"),
        (Span(3, 4), "try"),
    ]


def test_request_alone_is_tried_twice_before_it_is_rejected() -> None:
    one = Span(0, 1)
    assert [plan_spans(one, set(), {one: deaths})[0][1] for deaths in range(4)] == ["try", "try", "reject", "reject"]


def test_halves_of_an_odd_span_are_one_apart() -> None:
    assert Span(3, 8).halves() == (Span(3, 5), Span(5, 8))


def tries_of(folder: Path, session: str = "now", num_requests: int = 4, name: str = "5a-0") -> Tries:
    """The record as a process finds it."""
    return Tries(folder, name, num_requests, session)


def test_try_that_began_and_left_no_rows_is_a_death_for_whoever_reads_the_record(tmp_path: Path) -> None:
    for _ in range(2):
        tries_of(tmp_path).begin(Span(0, 4))
    assert tries_of(tmp_path).plan() == [(Span(0, 2), "try"), (Span(2, 4), "try")]
    assert tries_of(tmp_path).num_deaths(Span(0, 4)) == 2


def test_deaths_of_a_piece_are_those_of_all_tries_it_was_in(tmp_path: Path) -> None:
    tries = tries_of(tmp_path)
    for span in (Span(0, 4), Span(0, 4), Span(0, 2), Span(2, 4)):
        tries.begin(span)
    assert [tries.num_deaths(span) for span in (Span(0, 4), Span(0, 2), Span(0, 1), Span(3, 4))] == [2, 3, 3, 3]


def test_deaths_of_another_command_do_not_count(tmp_path: Path) -> None:
    for _ in range(2):
        tries_of(tmp_path, "before").begin(Span(0, 4))
    tries_of(tmp_path, "now").begin(Span(0, 4))
    assert tries_of(tmp_path, "now").num_deaths(Span(0, 4)) == 1
    assert tries_of(tmp_path, "now").plan() == [(Span(0, 4), "try")]


def corner(folder: Path, session: str = "now") -> None:
    """Two deaths of the whole; its left half is finished, its right half ended an engine."""
    tries = tries_of(folder, session)
    for span in (Span(0, 4), Span(0, 4), Span(0, 2), Span(2, 4)):
        tries.begin(span)
    tries.finish(Span(0, 2), [thought("a"), thought("b")])


def test_finished_piece_is_no_death_and_keeps_its_rows(tmp_path: Path) -> None:
    corner(tmp_path)
    tries = tries_of(tmp_path)
    assert tries.plan() == [(Span(0, 2), "finished"), (Span(2, 3), "try"), (Span(3, 4), "try")]
    assert tries.rows(Span(0, 2)) == [thought("a"), thought("b")]
    assert tries.num_deaths(Span(0, 1)) == 2


def test_finished_piece_survives_its_command(tmp_path: Path) -> None:
    corner(tmp_path, "before")
    assert tries_of(tmp_path, "now").plan() == [(Span(0, 2), "finished"), (Span(2, 4), "try")]


def test_line_that_was_cut_off_with_its_process_does_not_count_and_harms_no_later_one(tmp_path: Path) -> None:
    tries_of(tmp_path).begin(Span(0, 4))
    (record,) = (tmp_path / "tries").iterdir()
    whole_line = record.read_bytes()
    record.write_bytes(whole_line + whole_line[:20])
    assert tries_of(tmp_path).num_deaths(Span(0, 4)) == 1
    tries_of(tmp_path).begin(Span(0, 4))
    assert tries_of(tmp_path).num_deaths(Span(0, 4)) == 2


def test_shard_that_is_done_leaves_nothing(tmp_path: Path) -> None:
    corner(tmp_path)
    tries_of(tmp_path).clear()
    assert list((tmp_path / "tries").iterdir()) == []
    assert tries_of(tmp_path).plan() == [(Span(0, 4), "try")]


def test_shard_that_was_never_tried_can_be_cleared(tmp_path: Path) -> None:
    tries_of(tmp_path).clear()
    assert list(tmp_path.iterdir()) == []


def test_records_of_other_shards_and_rounds_are_their_own(tmp_path: Path) -> None:
    names = ("5a-0", "5a-1", "5a-10", "6b-0")
    for name in names[1:]:
        tries_of(tmp_path, name=name).begin(Span(0, 4))
        tries_of(tmp_path, name=name).finish(Span(0, 2), [thought("a"), thought("b")])
    assert tries_of(tmp_path, name="5a-0").plan() == [(Span(0, 4), "try")]
    tries_of(tmp_path, name="5a-1").clear()
    assert sorted({file.name.split(".")[0] for file in (tmp_path / "tries").iterdir()}) == [
        *("5a-10", "5a-10-0-2", "6b-0", "6b-0-0-2")
    ]
