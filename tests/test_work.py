"""One engine over many shards: only a poison is rejected, only what was rejected is tried again, and all is metered."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from thoughts_fixtures import (
    POISON,
    DiesWithAllInFlight,
    Row,
    Says,
    document,
    generation_of,
    keys,
    make_parts,
    outcomes,
    rows_of,
    shard_of,
    thought,
    write_shard,
    write_thoughts,
)

from rcpt_ray.thoughts.engine import Engine, EngineCannotStart
from rcpt_ray.thoughts.fake_engine import FakeEngine
from rcpt_ray.thoughts.meter import Meter, Reading, read_meters
from rcpt_ray.thoughts.parts import Receipt, read_receipts
from rcpt_ray.thoughts.scorers import FakeScorer
from rcpt_ray.thoughts.spec import FakeSpec
from rcpt_ray.thoughts.work import Shard


def documents_with(numbers: Sequence[int], *poisons: int) -> list[Row]:
    return [document(number, f"a {POISON}" if number in poisons else None) for number in numbers]


def mortal() -> FakeEngine:
    """Dies of a poison, as often as it is tried."""
    return FakeEngine(12, FakeSpec(die_on=POISON))


def only(folder: Path, shard: Shard, engine: Engine | None = None) -> Receipt:
    (receipt,) = make_parts([shard], folder, engine)
    return receipt


def test_shard_becomes_a_part_with_all_samples_in_order(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, [document(1), document(2, ""), document(3)]))
    (receipt,) = make_parts([shard], tmp_path / "out", generation=generation_of(num_samples=2))
    assert keys(rows_of(tmp_path / "out", receipt)) == [(f"web/{n}", sample) for n in (1, 2, 3) for sample in (0, 1)]
    assert (receipt.num_ok, receipt.rejected) == (4, {"empty_text": 2})
    assert read_receipts(tmp_path / "out", "key-1") == {shard.digest: receipt}


def test_part_of_a_repeated_shard_is_the_same_bytes(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, [document(1), document(2)]))
    first, again = ((tmp_path / name / only(tmp_path / name, shard).part).read_bytes() for name in ("a", "b"))
    assert first == again


def test_error_that_nobody_named_leaves_neither_part_nor_receipt(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, [document(1)]))
    with pytest.raises(RuntimeError, match="^no such kernel$"):
        only(tmp_path / "out", shard, Says(RuntimeError("no such kernel")))
    assert list((tmp_path / "out").glob("part-*")) == []


def test_end_of_the_whole_process_is_a_death_for_the_process_after_it(tmp_path: Path) -> None:
    """An error that rises stands for the end: like a kill, it leaves a try that began and no rows."""
    shard = shard_of(write_shard(tmp_path, [document(1), document(2)]))
    with pytest.raises(RuntimeError):
        only(tmp_path / "out", shard, Says(RuntimeError("killed")))
    rows = rows_of(tmp_path / "out", only(tmp_path / "out", shard))
    assert [(row["status"], row["attempts"]) for row in rows] == [("ok", 2), ("ok", 2)]


def test_engine_that_cannot_start_ends_the_work_with_its_words(tmp_path: Path) -> None:
    shards = [shard_of(write_shard(tmp_path, [document(n)], f"{n}.parquet")) for n in range(2)]
    with pytest.raises(EngineCannotStart, match="^no memory$"):
        make_parts(shards, tmp_path / "out", FakeEngine(12, FakeSpec(cannot_start="no memory")))
    assert list((tmp_path / "out").glob("part-*")) == []


@pytest.mark.parametrize("poison", range(7))
def test_document_on_which_the_engine_dies_is_alone_rejected(tmp_path: Path, poison: int) -> None:
    shard = shard_of(write_shard(tmp_path, documents_with(range(7), poison)))
    receipt = only(tmp_path / "out", shard, mortal())
    rows = rows_of(tmp_path / "out", receipt)
    assert keys(rows) == [(f"web/{number}", 0) for number in range(7)]
    assert outcomes(rows) == [("rejected", "engine_died") if n == poison else ("ok", "") for n in range(7)]
    assert list((tmp_path / "out" / "tries").iterdir()) == []


def test_of_several_poisons_each_is_rejected_with_every_sample_of_it(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, documents_with(range(6), 1, 4)))
    (receipt,) = make_parts([shard], tmp_path / "out", mortal(), generation_of(num_samples=2))
    rejected = [key for row, key in _with_keys(rows_of(tmp_path / "out", receipt)) if row["reason"] == "engine_died"]
    assert rejected == [("web/1", 0), ("web/1", 1), ("web/4", 0), ("web/4", 1)]
    assert (receipt.num_ok, receipt.rejected) == (8, {"engine_died": 4})


def _with_keys(rows: Sequence[Row]) -> list[tuple[Row, tuple[str, int]]]:
    return list(zip(rows, keys(rows), strict=True))


def test_attempts_count_the_engines_that_died_with_a_request_in_flight(tmp_path: Path) -> None:
    """0..3 twice, then 0..1 done; 2..3 once; 2 done; 3 twice."""
    shard = shard_of(write_shard(tmp_path, documents_with(range(4), 3)))
    rows = rows_of(tmp_path / "out", only(tmp_path / "out", shard, mortal()))
    assert [row["attempts"] for row in rows] == [3, 3, 4, 5]


def test_thoughts_beside_a_poison_are_those_that_there_would_be_without(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, documents_with(range(5), 2)))
    with_death, without = (
        rows_of(tmp_path / n, only(tmp_path / n, shard, e)) for n, e in (("a", mortal()), ("b", None))
    )
    told = [(row["doc_id"], row["thought"]) for row in without if row["doc_id"] != "web/2"]
    assert [(row["doc_id"], row["thought"]) for row in with_death if row["status"] == "ok"] == told


def test_shards_in_flight_with_a_poison_lose_nothing(tmp_path: Path) -> None:
    """The engine dies with the requests of all shards in flight; each shard is then tried by itself."""
    numbers = [range(0, 3), range(3, 6), range(6, 9)]
    shards = [shard_of(write_shard(tmp_path, documents_with(n, 4), f"{n}.parquet")) for n in numbers]
    receipts = make_parts(shards, tmp_path / "out", DiesWithAllInFlight())
    assert [receipt.rejected for receipt in receipts] == [{}, {"engine_died": 1}, {}]
    rows = [row for receipt in receipts for row in rows_of(tmp_path / "out", receipt)]
    assert keys(rows) == [(f"web/{number}", 0) for number in range(9)]
    assert [row["attempts"] for row in rows] == [2, 2, 2, 3, 5, 4, 2, 2, 2]


def test_engine_works_on_no_more_shards_at_once_than_it_may(tmp_path: Path) -> None:
    """As where Ray Data hands over blocks of several shards: what a lost machine costs stays bounded."""
    shards = [shard_of(write_shard(tmp_path, [document(n)], f"{n}.parquet")) for n in range(12)]
    engine = DiesWithAllInFlight()
    assert len(make_parts(shards, tmp_path / "out", engine)) == 12
    assert engine.most_at_once == generation_of().spec.pool.shards_in_flight == 4


def test_scorers_work_on_no_more_parts_at_once_than_they_may(tmp_path: Path) -> None:
    from rcpt_ray.thoughts.scores_on_ray import ScoreActor

    class Counting(FakeScorer):
        num_now = most_at_once = 0

        async def score(self, row: dict[str, Any]) -> float | None:
            self.num_now += 1
            self.most_at_once = max(self.most_at_once, self.num_now)
            await asyncio.sleep(0)
            self.num_now -= 1
            return await super().score(row)

    async def all_at_once(actor: ScoreActor) -> None:
        async def one(number: int) -> None:
            batch = {"part": [str(tmp_path / f"{number}.parquet")], "target": [str(tmp_path / f"{number}-scored")]}
            assert [answer async for answer in actor(batch)] == [{"failure": [""]}]

        await asyncio.gather(*(one(number) for number in range(12)))

    for number in range(12):
        write_thoughts(tmp_path, f"{number}.parquet", [thought(str(number))])
    scorer = Counting()
    scoring: Any = SimpleNamespace(spec=generation_of().spec, kinds=("gain_bits",), scorer=lambda kind: scorer)
    asyncio.run(all_at_once(ScoreActor(scoring)))
    assert scorer.most_at_once == 4


def test_engine_that_died_under_several_shards_is_started_once_for_all(tmp_path: Path) -> None:
    """The document by itself is tried twice: at once with the others, then alone."""
    shards = [shard_of(write_shard(tmp_path, documents_with([n], 1), f"{n}.parquet")) for n in range(3)]
    engine = DiesWithAllInFlight()
    receipts = make_parts(shards, tmp_path / "out", engine)
    assert [receipt.num_ok for receipt in receipts] == [1, 0, 1]
    assert engine.num_starts == 3


def never_up() -> FakeEngine:
    return FakeEngine(12, FakeSpec(cannot_start="it was asked to start"))


def test_part_that_is_there_already_is_not_made_again(tmp_path: Path) -> None:
    """An actor was lost between its receipt and its answer, and the shard came to another."""
    shard = shard_of(write_shard(tmp_path, [document(1), document(2)]))
    first = only(tmp_path / "out", shard)
    assert only(tmp_path / "out", shard, never_up()) == first


def test_part_of_a_later_round_stands_for_an_earlier_one(tmp_path: Path) -> None:
    file = write_shard(tmp_path, [document(1), document(2, " ")])
    first = only(tmp_path / "out", shard_of(file))
    again = shard_of(file, round_=1, earlier_part=first.part)
    with pytest.raises(EngineCannotStart, match="^it was asked to start$"):
        only(tmp_path / "out", again, never_up())
    second = only(tmp_path / "out", again)
    assert [only(tmp_path / "out", shard, never_up()) for shard in (shard_of(file), again)] == [second, second]


def test_part_of_another_generation_does_not_stand_for_this_one(tmp_path: Path) -> None:
    shard = shard_of(write_shard(tmp_path, [document(1)]))
    make_parts([shard], tmp_path / "out", generation=generation_of(key="key-2"))
    with pytest.raises(EngineCannotStart, match="^it was asked to start$"):
        only(tmp_path / "out", shard, never_up())


@pytest.fixture(scope="module")
def ended_pid() -> int:
    """The id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave_readings(folder: Path, number: int, ended_pid: int, **changed: Any) -> None:
    """What actors of this command on this machine leave behind that ended while their engines started."""
    Meter(folder / "template", "a session")
    (reading,) = read_meters(folder / "template")
    (folder / "engines").mkdir(parents=True)
    for n in range(number):
        left = replace(reading, **{"state": "starting", "pid": ended_pid} | changed)
        (folder / "engines" / f"{n}.json").write_text(json.dumps(asdict(left)), encoding="utf-8")


def test_engine_whose_process_ended_three_times_while_it_started_is_not_started_again(
    tmp_path: Path, ended_pid: int
) -> None:
    """As when the kernel ends it for want of memory: no engine lives to say so."""
    leave_readings(tmp_path / "out", 3, ended_pid)
    engine = DiesWithAllInFlight()
    with pytest.raises(EngineCannotStart, match="^its process ended 3 times while it started; see the log"):
        only(tmp_path / "out", shard_of(write_shard(tmp_path, [document(1)])), engine)
    assert engine.num_starts == 0
    assert list((tmp_path / "out").glob("part-*")) == []


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        (2, {}),
        (3, {"session": "an earlier command"}),
        (3, {"state": "running"}),
        (3, {"machine": "another"}),
        (3, {"pid": os.getpid()}),
    ],
    ids=["only two", "of another command", "after it was ready", "on another machine", "alive"],
)
def test_other_ends_do_not_keep_an_engine_from_starting(
    tmp_path: Path, ended_pid: int, number: int, changed: dict[str, Any]
) -> None:
    leave_readings(tmp_path / "out", number, ended_pid, **changed)
    assert only(tmp_path / "out", shard_of(write_shard(tmp_path, [document(1)]))).num_ok == 1


def retried(tmp_path: Path, documents: Sequence[Row], engine: Engine) -> tuple[list[Row], list[Row], Receipt]:
    """Rows of a shard, and those after its rejected rows were tried again by another engine."""
    file, folder = write_shard(tmp_path, documents), tmp_path / "out"
    first = only(folder, shard_of(file), mortal())
    second = only(folder, shard_of(file, round_=1, earlier_part=first.part), engine)
    return rows_of(folder, first), rows_of(folder, second), second


def test_retry_touches_only_what_was_rejected(tmp_path: Path) -> None:
    documents = [document(0), document(1, f"a {POISON}"), document(2), document(3, " "), document(4)]
    before, after, receipt = retried(tmp_path, documents, Says("another thought"))
    assert keys(after) == keys(before)
    assert outcomes(after) == [("ok", "")] * 5
    assert [row["thought"] == "another thought" for row in after] == [False, True, False, True, False]
    assert [after[number] for number in (0, 2, 4)] == [before[number] for number in (0, 2, 4)]
    assert (receipt.round, receipt.num_ok, receipt.rejected) == (1, 5, {})


def test_retry_raises_the_attempts_and_draws_with_another_seed(tmp_path: Path) -> None:
    before, after, _ = retried(tmp_path, [document(0, f"a {POISON}"), document(1, " ")], FakeEngine(12))
    assert [row["attempts"] for row in before] == [4, 3]
    assert [(row["status"], row["attempts"]) for row in after] == [("ok", 5), ("rejected", 4)]
    assert after[0]["seed"] != before[0]["seed"]


def test_retry_of_what_the_engine_dies_of_again_counts_on(tmp_path: Path) -> None:
    before, after, receipt = retried(tmp_path, documents_with(range(3), 1), mortal())
    assert outcomes(after) == outcomes(before)
    assert (before[1]["attempts"], after[1]["attempts"]) == (5, 7)
    assert receipt.rejected == {"engine_died": 1}


def test_readings_of_all_engines_add_up_to_the_rows(tmp_path: Path) -> None:
    shards = [shard_of(write_shard(tmp_path, [document(n), document(n + 10, "")], f"{n}.parquet")) for n in range(3)]
    receipts = make_parts(shards[:2], tmp_path / "out") + make_parts(shards[2:], tmp_path / "out")
    readings = read_meters(tmp_path / "out")
    assert sorted(reading.num_rows for reading in readings) == [2, 4]
    assert sum(reading.num_rejected for reading in readings) == 3
    tallies = [tally for receipt in receipts for tally in receipt.tallies]
    for name in ("num_prompt_tokens", "num_thought_tokens"):
        assert sum(getattr(reading, name) for reading in readings) == sum(getattr(tally, name) for tally in tallies)
    assert {reading.state for reading in readings} == {"ended"}


def test_reading_says_when_its_engine_was_ready_and_how_long_it_lived(tmp_path: Path) -> None:
    meter = Meter(tmp_path, "a session")
    (reading,) = read_meters(tmp_path)
    assert (reading.session, reading.state, reading.ready_s) == ("a session", "asleep", None)
    meter.say("starting")
    (reading,) = read_meters(tmp_path)
    assert (reading.state, reading.ready_s) == ("starting", None)
    meter.say("running")
    (reading,) = read_meters(tmp_path)
    assert reading.ready_s is not None and reading.started_s <= reading.ready_s <= reading.seen_s
    assert Reading("a session", "ended", "a machine", 7, started_s=1800.0, seen_s=9000.0).hours == 2.0
