"""Each wanted thought becomes one row, whoever ends first, is refused or dies."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thoughts_fixtures import (
    POISON,
    LastComesFirst,
    NeverAnswers,
    Row,
    Says,
    complete,
    document,
    generate,
    generation_of,
    keys,
    outcomes,
)

from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.engine import EngineCannotStart, EngineDied, RowRefused
from rcpt_ray.thoughts.fake_engine import FakeEngine
from rcpt_ray.thoughts.generate import Wanted, generate_rows, rejected_row, request_seed, wanted_again, wanted_of
from rcpt_ray.thoughts.spec import FakeSpec


def test_fake_engine_says_the_same_twice_and_counts_its_words() -> None:
    first, second = (complete(FakeEngine(40)) for _ in range(2))
    assert first == second
    assert first.num_thought_tokens == len(first.thought.split())
    assert first.num_text_tokens == 5


@pytest.mark.parametrize("changed", [{"seed": 4}, {"doc_id": "web/2"}, {"sample_index": 1}])
def test_fake_engine_says_something_else_to_another_request(changed: dict[str, Any]) -> None:
    assert complete(FakeEngine(40), **changed).thought != complete(FakeEngine(40)).thought


@given(limit=st.integers(1, 60), seed=st.integers(0, 2**31 - 1))
def test_fake_engine_says_between_half_the_limit_and_the_limit(limit: int, seed: int) -> None:
    said = complete(FakeEngine(limit), seed=seed)
    assert max(1, limit // 2) <= said.num_thought_tokens == len(said.thought.split()) <= limit


def test_fake_engine_keeps_a_limit_of_one_and_refuses_an_empty_text() -> None:
    assert complete(FakeEngine(1)).num_thought_tokens == 1
    with pytest.raises(RowRefused, match="^empty_text$"):
        complete(FakeEngine(1), text=" \n")


def test_fake_engine_fails_where_it_is_told_to() -> None:
    engine = FakeEngine(12, FakeSpec(die_on=POISON, cannot_start="no memory"))
    with pytest.raises(EngineDied, match=f"^{POISON}$"):
        complete(engine, text=f"a {POISON} text")
    with pytest.raises(EngineCannotStart, match="^no memory$"):
        asyncio.run(engine.start())


def test_seed_of_a_draw_follows_names_alone() -> None:
    names = [(seed, doc_id, index) for seed in (1, 2) for doc_id in ("a", "b") for index in (0, 1)]
    seeds = {request_seed(*name) for name in names}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == {request_seed(*name) for name in reversed(names)}


def test_draw_that_was_rejected_is_not_drawn_again() -> None:
    assert len({request_seed(1, "a", 0, num_rejected) for num_rejected in range(3)}) == 3
    assert request_seed(1, "a", 0, 0) == request_seed(1, "a", 0)


def test_rows_keep_the_order_of_documents_and_samples_whoever_ends_first() -> None:
    rows = generate([document(1), document(2)], LastComesFirst(6), generation_of(num_samples=3))
    assert keys(rows) == [(f"web/{number}", sample) for number in (1, 2) for sample in range(3)]
    assert [row["thought"] for row in rows] == ["about text 1"] * 3 + ["about text 2"] * 3


def test_row_carries_all_that_a_reader_needs_to_repeat_it() -> None:
    (row,) = generate([document(1)], FakeEngine(12))
    assert set(row) == set(THOUGHT.names)
    assert (row["status"], row["reason"], row["finish_reason"], row["attempts"]) == ("ok", "", "stop", 1)
    assert (row["model"], row["model_revision"], row["prompt_id"]) == ("a-model", "r1", "short@1")
    assert row["prompt_digest"] == "0123"
    assert row["seed"] == request_seed(17, "web/1", 0)
    assert json.loads(row["sampling"])["max_thought_tokens"] == 12


def test_row_keeps_the_log_probability_where_the_engine_gives_one() -> None:
    (row,) = generate([document(1)], FakeEngine(12))
    assert row["thought_logprob"] == -row["num_thought_tokens"]
    assert generate([document(1)], Says("words"))[0]["thought_logprob"] is None


def test_engine_with_one_seed_for_all_says_so() -> None:
    (row,) = generate([document(1)], LastComesFirst(1))
    assert row["seed"] == 17


def test_refused_row_stays_in_its_place_with_its_reason() -> None:
    rows = generate([document(1), document(2, " "), document(3)], FakeEngine(12))
    assert outcomes(rows) == [("ok", ""), ("rejected", "empty_text"), ("ok", "")]
    assert (rows[1]["thought"], rows[1]["num_thought_tokens"], rows[1]["finish_reason"]) == ("", 0, "refused")
    assert set(rows[1]) == set(THOUGHT.names)


def test_empty_thought_is_rejected() -> None:
    assert outcomes(generate([document(1)], Says(""))) == [("rejected", "empty_thought")]


def test_rejected_row_names_the_document_and_the_reason() -> None:
    row = rejected_row(Wanted(document(1), 2), FakeEngine(12), generation_of(), attempts=3, reason="engine_died")
    assert set(row) == set(THOUGHT.names)
    assert (row["doc_id"], row["sample_index"], row["attempts"]) == ("web/1", 2, 3)
    assert row["seed"] == request_seed(17, "web/1", 2)
    assert outcomes([row]) == [("rejected", "engine_died")]


def rows_for(wanted: list[Wanted], num_deaths: int = 0) -> list[Row]:
    return asyncio.run(generate_rows(wanted, FakeEngine(12), generation_of(), num_deaths))


def test_attempts_count_this_one_the_deaths_before_and_the_rejections_of_earlier_commands() -> None:
    assert [row["attempts"] for row in rows_for([Wanted(document(1), 0)])] == [1]
    assert [row["attempts"] for row in rows_for([Wanted(document(1), 0)], num_deaths=2)] == [3]
    again = [Wanted(document(1), 0, num_rejected=3), Wanted(document(2, ""), 0, num_rejected=1)]
    assert [row["attempts"] for row in rows_for(again, num_deaths=2)] == [6, 4]


def test_thought_does_not_depend_on_how_often_an_engine_died() -> None:
    (first,), (later,) = rows_for([Wanted(document(1), 0)]), rows_for([Wanted(document(1), 0)], num_deaths=2)
    assert first | {"attempts": 3} == later


def test_only_rejected_rows_are_wanted_again_with_their_attempts() -> None:
    rows = rows_for(wanted_of([document(1), document(2, ""), document(3)], num_samples=2), num_deaths=1)
    again = wanted_again(rows)
    assert [(one.document["doc_id"], one.sample_index, one.num_rejected) for one in again] == [
        ("web/2", 0, 2),
        ("web/2", 1, 2),
    ]


def test_row_wanted_again_is_drawn_with_another_seed() -> None:
    (first,) = generate([document(1)], Says(""))
    (second,) = rows_for(wanted_again([first]))
    assert (second["status"], second["text"]) == ("ok", first["text"])
    assert second["seed"] == request_seed(17, "web/1", 0, 1) != first["seed"]


def test_every_row_is_heard_of_once_in_the_order_of_their_ends() -> None:
    heard: list[Row] = []
    wanted = wanted_of([document(1), document(2)], num_samples=2)
    rows = asyncio.run(generate_rows(wanted, LastComesFirst(4), generation_of(), on_row=heard.append))
    assert heard == rows[::-1]


def test_refused_row_is_heard_of_too() -> None:
    heard: list[Row] = []
    wanted = wanted_of([document(1, "")], num_samples=1)
    assert asyncio.run(generate_rows(wanted, FakeEngine(12), generation_of(), on_row=heard.append)) == heard


def test_engine_that_dies_ends_all_rows_in_flight() -> None:
    engine, heard = NeverAnswers(3), []
    wanted = wanted_of([document(1), document(2, POISON), document(3)], num_samples=1)
    with pytest.raises(EngineDied, match=f"^{POISON}$"):
        asyncio.run(generate_rows(wanted, engine, generation_of(), on_row=heard.append))
    assert sorted(engine.cancelled) == ["web/1", "web/3"]
    assert heard == []


def test_rows_in_flight_end_with_who_waits_for_them() -> None:
    engine = NeverAnswers(3)

    async def give_up() -> None:
        wanted = wanted_of([document(1), document(2)], num_samples=1)
        waiting = asyncio.ensure_future(generate_rows(wanted, engine, generation_of()))
        await engine.all_there.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    assert sorted(engine.cancelled) == ["web/1", "web/2"]


def test_error_that_nobody_named_rises() -> None:
    with pytest.raises(RuntimeError, match="^no such kernel$"):
        generate([document(1), document(2)], Says(RuntimeError("no such kernel")))
