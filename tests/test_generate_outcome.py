"""The generate stage around its engines: finished parts are never made again, and the manifest adds them up."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from thoughts_fixtures import (
    Row,
    Says,
    document,
    generation_of,
    make_parts,
    rows_of,
    shard_of,
    spec_of,
    thought,
    write_shard,
)

from rcpt_ray.artifacts import Outcome, hold
from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.errors import UserError
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Reading
from rcpt_ray.thoughts.outcome import begin_retry, make_thoughts
from rcpt_ray.thoughts.parts import Receipt, read_receipts, write_part
from rcpt_ray.thoughts.spec import ThoughtsSpec

REJECTED = {"status": "rejected", "reason": "empty_text", "num_tokens": 0}


class Connected(Exception):
    """A cluster was asked for."""


def connect() -> None:
    raise Connected


def finish(shards: Sequence[Path], num_documents: int, folder: Path, generation: Generation | None = None) -> Outcome:
    """The stage, whose parts are all there: a cluster that it asks for fails the test."""
    bar = Bar(Console(file=io.StringIO()), "generate", None)
    return make_thoughts(generation or generation_of(), shards, num_documents, folder, connect, bar)


def with_spec(**changed: Any) -> Generation:
    """The generation of the parts, run in another way."""
    spec: ThoughtsSpec = spec_of(**changed)
    return generation_of().with_spec(spec)


def leave_part(folder: Path, shard: Path, rows: Sequence[Row], round_: int = 0) -> Receipt:
    """A finished part."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_part(folder, shard_digest(shard), generation_of().key, round_, rows, seconds=1.0)


def leave_reading(folder: Path, session: str, ready_s: float | None, seen_s: float, **changed: Any) -> None:
    """What an engine said last; it lived for a quarter of an hour."""
    reading = Reading(session, "ended", "a machine", 7, seen_s - 900, seen_s, ready_s)
    (folder / "engines").mkdir(parents=True, exist_ok=True)
    file = folder / "engines" / f"{len(list((folder / 'engines').iterdir()))}.json"
    file.write_text(json.dumps(asdict(replace(reading, **changed))), encoding="utf-8")


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Two files of two documents."""
    numbers = {"first": (1, 2), "second": (3, 4)}
    return [
        write_shard(tmp_path / "corpus", [document(n) for n in of], f"{name}.parquet") for name, of in numbers.items()
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The stage's folder, not there yet."""
    return tmp_path / "thoughts" / "0123"


@pytest.fixture
def done(folder: Path, shards: list[Path]) -> Path:
    """The stage's folder with a part for each shard, one row of four rejected with 7 tokens written."""
    law = {"source": "law", "domain": "law"}
    leave_part(folder, shards[0], [thought("web/1", num_tokens=20), thought("web/2", num_tokens=30)])
    rejected = thought("law/3", num_tokens=7, status="rejected", reason="empty_thought", **law)
    leave_part(folder, shards[1], [rejected, thought("law/4", num_tokens=40, **law)])
    return folder


def test_stage_with_every_part_there_asks_for_no_cluster(done: Path, shards: list[Path]) -> None:
    outcome = finish(shards, 4, done)
    assert outcome.counts.unit == "doc_id with sample_index"
    assert (outcome.counts.num_in, outcome.counts.num_ok, outcome.counts.rejected) == (4, 3, {"empty_thought": 1})
    assert outcome.tokens == {"prompt": 36, "text": 20, "thought": 97, "rejected": 7}


def test_stage_with_a_part_missing_asks_for_one(done: Path, shards: list[Path]) -> None:
    (done / f"part-{shard_digest(shards[1])}.json").unlink()
    with pytest.raises(Connected):
        finish(shards, 4, done)


def test_outcome_has_the_figures_of_each_source(done: Path, shards: list[Path]) -> None:
    assert finish(shards, 4, done).details["sources"] == {
        "web": {
            **{"domain": "stem", "ok": 2, "rejected": 0},
            **{"prompt_tokens": 18, "text_tokens": 10, "thought_tokens": 50, "rejected_tokens": 0},
        },
        "law": {
            **{"domain": "law", "ok": 1, "rejected": 1},
            **{"prompt_tokens": 18, "text_tokens": 10, "thought_tokens": 47, "rejected_tokens": 7},
        },
    }


def test_parts_of_a_folder_beside_finish_the_stage(done: Path, shards: list[Path]) -> None:
    """Each sample and document is there, so only the manifest is left to write."""
    after = done.with_name("4567")
    after.mkdir()
    assert finish(shards, 4, after).counts == finish(shards, 4, done).counts
    assert read_receipts(after) == read_receipts(done)


def test_part_that_no_receipt_names_is_gone_when_the_stage_is_done(done: Path, shards: list[Path]) -> None:
    lost = leave_part(done, shards[0], [thought("web/1"), thought("web/2")])
    named = leave_part(done, shards[0], [thought("web/1", num_tokens=21), thought("web/2", num_tokens=31)])
    assert finish(shards, 4, done).details["sources"]["web"]["thought_tokens"] == 52
    assert not (done / lost.part).exists() and (done / named.part).exists()


def test_engines_of_all_commands_are_paid_for(done: Path, shards: list[Path]) -> None:
    """Also what no part holds: the rows that were in flight when an engine died."""
    for session in ("first", "second"):
        leave_reading(done, session, 10_000, 10_100, num_prompt_tokens=50, num_thought_tokens=300)
    details = finish(shards, 4, done, with_spec(pool={"gpus_per_engine": 4.0})).details
    assert (details["engine_hours"], details["gpu_hours"]) == (0.5, 2.0)
    assert (details["prompt_tokens_paid"], details["thought_tokens_paid"]) == (100, 600)
    assert details["model_revision"] == "r1"


def test_throughput_is_over_the_time_in_which_engines_worked(done: Path, shards: list[Path]) -> None:
    """120 s of two engines, a night without any, 80 s of one; an engine that was never ready took no time to work.

    5,600 tokens in 200 s, and in 280 s of engines.
    """
    leave_reading(done, "evening", 10_000, 10_100, num_thought_tokens=1500)
    leave_reading(done, "evening", 10_020, 10_120, num_thought_tokens=2500)
    leave_reading(done, "evening", None, 10_900)
    leave_reading(done, "morning", 50_000, 50_080, num_thought_tokens=1600)
    assert finish(shards, 4, done).throughput == {"tokens_per_s": 28.0, "tokens_per_s_per_engine": 20.0}


def test_stage_whose_engines_left_nothing_has_no_throughput_and_no_cost(done: Path, shards: list[Path]) -> None:
    outcome = finish(shards, 4, done)
    assert (outcome.throughput, outcome.cost, outcome.details["engine_hours"]) == ({}, None, 0)


def test_cost_has_the_hours_of_engines_and_the_tokens_of_a_server(done: Path, shards: list[Path]) -> None:
    for session in ("first", "second"):
        leave_reading(done, session, 10_000, 10_100, num_prompt_tokens=2_000_000, num_thought_tokens=500_000)
    pool = {"price_per_engine_hour": 3.0}
    http = {"price_per_million_prompt_tokens": 0.25, "price_per_million_thought_tokens": 2.0}
    assert finish(shards, 4, done, with_spec(pool=pool, http=http)).cost == 0.5 * 3.0
    assert finish(shards, 4, done, with_spec(engine="http", pool=pool, http=http)).cost == 0.5 * 3.0 + 4 * 0.25 + 2.0


def test_stage_with_too_many_rejected_rows_fails_and_keeps_its_parts(done: Path, shards: list[Path]) -> None:
    with pytest.raises(UserError, match=r"^thoughts\.max_rejected_share=0\.2: the engine rejected 1 of 4 thoughts"):
        finish(shards, 4, done, with_spec(max_rejected_share=0.2))
    assert finish(shards, 4, done, with_spec(max_rejected_share=0.25)).counts.num_ok == 3


def next_round(folder: Path) -> int:
    """The round that a folder was opened for."""
    return int(json.loads((folder / "round.json").read_text(encoding="utf-8"))["round"])


def test_retry_of_a_finished_stage_opens_it_for_its_rejected_rows(done: Path, shards: list[Path]) -> None:
    (done / "manifest.json").write_text("{}", encoding="utf-8")
    assert begin_retry(done) == 1
    assert not (done / "manifest.json").exists()
    with pytest.raises(Connected):
        finish(shards, 4, done)


def test_retry_where_nothing_is_rejected_leaves_the_stage_finished(folder: Path, shards: list[Path]) -> None:
    leave_part(folder, shards[0], [thought("web/1"), thought("web/2")])
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    assert begin_retry(folder) == 0
    assert (folder / "manifest.json").exists() and not (folder / "round.json").exists()


def test_retry_of_a_stage_that_is_not_there_makes_no_folder(folder: Path) -> None:
    assert begin_retry(folder) == 0
    assert not folder.exists()


def test_retry_of_a_stage_that_was_never_finished_is_a_retry_too(done: Path) -> None:
    """It failed of too many rejected rows, say; each retry is a round of its own."""
    assert (begin_retry(done), next_round(done)) == (1, 1)
    assert (begin_retry(done), next_round(done)) == (1, 2)


def test_round_of_a_retry_is_above_those_of_parts_taken_over(folder: Path, shards: list[Path]) -> None:
    """Else the part, of a round that is not below the one asked for, would pass for tried again."""
    rows = [thought("web/1"), thought("web/2", **REJECTED)]
    leave_part(folder.with_name("before"), shards[0], rows, round_=3)
    folder.mkdir()
    assert finish(shards[:1], 2, folder).counts.rejected == {"empty_text": 1}
    assert (begin_retry(folder), next_round(folder)) == (1, 4)
    with pytest.raises(Connected):
        finish(shards[:1], 2, folder)


def test_retry_does_not_touch_a_stage_that_another_process_makes(done: Path) -> None:
    with hold(done), pytest.raises(UserError, match="is being made by another rcpt process"):
        begin_retry(done)
    assert not (done / "round.json").exists()


def test_rows_that_were_tried_again_take_their_places_in_the_outcome(folder: Path, tmp_path: Path) -> None:
    """Documents 1 and 3 are empty; the engine of the retry finds words even for them, and for no other shard."""
    numbers = [(0, 1, 2), (3, 4), (5, 6)]
    files = [
        write_shard(tmp_path, [document(n, "" if n in (1, 3) else None) for n in of], f"{of[0]}.parquet")
        for of in numbers
    ]
    first = make_parts([shard_of(file) for file in files], folder)
    before = finish(files, 7, folder)
    assert (before.counts.rejected, before.details["round"]) == ({"empty_text": 2}, 0)
    assert begin_retry(folder) == 2
    again = [shard_of(file, next_round(folder), receipt.part) for file, receipt in zip(files, first, strict=True)]
    second = make_parts(again[:2], folder, Says("words after all"))
    after = finish(files, 7, folder)
    assert (after.counts.num_ok, after.counts.rejected, after.details["round"]) == (7, {}, 1)
    assert after.tokens["thought"] == before.tokens["thought"] + 2 * 3
    assert [row["doc_id"] for row in rows_of(folder, second[0])] == ["web/0", "web/1", "web/2"]
    assert {file.name for file in folder.glob("*.parquet")} == {receipt.part for receipt in (*second, first[2])}


def test_rows_that_are_rejected_in_every_round_end_the_retry_all_the_same(folder: Path, shards: list[Path]) -> None:
    """A part of the round asked for is done, whatever it holds; only the next retry asks for more."""
    leave_part(folder, shards[0], [thought("web/1"), thought("web/2", **REJECTED)])
    begin_retry(folder)
    leave_part(folder, shards[0], [thought("web/1"), thought("web/2", **REJECTED, attempts=2)], round_=1)
    assert finish(shards[:1], 2, folder).counts.rejected == {"empty_text": 1}
