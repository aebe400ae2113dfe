"""Scheduling in short: a few pretended GPUs, many small shards; what must hold at any size."""

import asyncio
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import PROJECT
from ray_cluster import Head, ray_head
from run_folder import assert_adds_up, manifests, only_folder
from synthesis_runs import synthesis_of, write_corpus
from thoughts_fixtures import Row, complete, thought, write_thoughts

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.blocks import block_ends
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
from rcpt_ray.corpus.spec import DecontaminationSpec
from rcpt_ray.spread import Spread
from rcpt_ray.thoughts.engine import Request
from rcpt_ray.thoughts.fake_engine import FakeEngine
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.thoughts.parts import Receipt, Tally
from rcpt_ray.thoughts.select import Selection, select
from rcpt_ray.thoughts.select_spec import SelectSpec
from rcpt_ray.thoughts.spec import FakeSpec
from rcpt_ray.thoughts.truncate import words_as_tokens

NUM_ENGINES, NUM_DOCUMENTS, SHARD_DOCUMENTS = 4, 2_000, 16
QUESTION = "How long does a stone need to fall to the ground from a height of ten metres?"


@pytest.fixture(scope="module")
def four_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("head")
    with ray_head(folder, f"--num-gpus={NUM_ENGINES}", num_cpus=NUM_ENGINES, dashboard=False) as head:
        yield head


def test_four_engines_make_all_parts_of_many_small_shards(tmp_path: Path, four_gpus: Head) -> None:
    write_corpus(tmp_path / "corpus.jsonl", NUM_DOCUMENTS)
    arguments = synthesis_of(
        tmp_path / "run",
        tmp_path / "corpus.jsonl",
        f"corpus.shard_documents={SHARD_DOCUMENTS}",
        "corpus.near_duplicates=null",
        "thoughts.engine=fake",
        "thoughts.fake.documents_per_s=2000",
        f"thoughts.pool={{min_engines: {NUM_ENGINES}, max_engines: {NUM_ENGINES}, gpus_per_engine: 1}}",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "rcpt_ray", "synthesize", *arguments],
        cwd=PROJECT,
        env=four_gpus.environment | {"RAY_ADDRESS": four_gpus.address},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert_adds_up(tmp_path / "run")
    folder, (manifest,) = only_folder(tmp_path / "run", "thoughts"), manifests(tmp_path / "run", "thoughts")
    assert manifest.counts.num_ok == NUM_DOCUMENTS
    assert len(list(folder.glob("part-*.parquet"))) == len(list(folder.glob("part-*.json"))) == 125
    assert sum(reading.num_rows for reading in read_meters(folder)) == NUM_DOCUMENTS, "a document was written twice"


def test_engine_with_a_pace_takes_its_time_for_each_document() -> None:
    """So many documents cannot be done sooner, and come in the order in which they were asked for."""

    async def all_at_once() -> list[int]:
        engine, order = FakeEngine(12, FakeSpec(documents_per_s=200)), list[int]()

        async def one(number: int) -> None:
            await engine.complete(Request(str(number), 0, "a text", number))
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        return order

    began_s = time.monotonic()
    assert asyncio.run(all_at_once()) == list(range(20))
    assert time.monotonic() - began_s >= 20 / 200
    assert complete(FakeEngine(12, FakeSpec(documents_per_s=200))) == complete(FakeEngine(12))


@given(num_items=st.integers(0, 400), most=st.integers(2, 60))
def test_blocks_hold_each_item_once_and_the_last_ones_hold_one(num_items: int, most: int) -> None:
    ends = block_ends(num_items, most)
    sizes = [stop - start for start, stop in pairwise([0, *ends])]
    assert sum(sizes) == num_items and all(sizes) and len(sizes) <= most
    assert sizes[-(most // 2) :] == [1] * min(num_items, most // 2)
    assert sizes == sorted(sizes, reverse=True)
    assert num_items > most or set(sizes) <= {1}


def test_driver_keeps_little_of_a_shard() -> None:
    """A receipt is what the driver remembers of a finished shard: below a kilobyte, whatever the shard's size."""
    tally = Tally("web", "stem", 512, {"empty_thought": 3}, 100_000, 150_000, 100_000, 900)
    told = [
        Receipt(f"part-{n:016x}-0123abcd.parquet", f"{n:016x}", "f" * 16, 0, (tally,), 1.5).to_json()
        for n in range(2_000)
    ]
    tracemalloc.start()
    try:
        kept = [Receipt.from_json(text) for text in told]
        num_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept[7].shard == f"{7:016x}"
    assert num_bytes / len(kept) < 1000


def many_parts(folder: Path) -> list[Path]:
    """Parts with thoughts of all lengths, some of which hold a question of the evaluation."""
    draw = random.Random(3)
    parts = []
    for number in range(12):
        rows: list[Row] = []
        for doc in range(20):
            said = " ".join(draw.choices(["stone", "height", "seconds", "ground", "fall", "so", "then"], k=30))
            said = f"{said} {QUESTION.lower()}" if draw.random() < 0.2 else said
            rows.append(thought(f"{number}-{doc}", thought=said, num_tokens=draw.randint(5, 40)))
        parts.append(write_thoughts(folder, f"part-{number:02d}.parquet", rows))
    return parts


def test_selection_is_the_same_here_and_by_workers(tmp_path: Path) -> None:
    """Bytes, counts and which of the contaminated thoughts are shown."""
    parts = many_parts(tmp_path / "in")
    index = EvaluationIndex.build(
        read_evaluation_texts("quiz", [{"id": "q", "question": QUESTION}]), DecontaminationSpec()
    )
    selection = Selection(SelectSpec(min_thought_tokens=10), words_as_tokens, index=index)
    made: list[tuple[Outcome, dict[str, bytes]]] = []
    with cluster.session():
        for num_workers in (1, 2):
            folder = tmp_path / str(num_workers)
            folder.mkdir()
            spread = Spread(num_workers, lambda: cluster.connect(ClusterSpec(num_cpus=2)))
            outcome = select(parts, selection, folder, spread=spread)
            made.append((outcome, {part.name: part.read_bytes() for part in folder.iterdir()}))
    assert made[0] == made[1]
    outcome = made[0][0]
    assert outcome.counts.num_in == sum(len(pq.read_table(part)) for part in parts) == 240
    assert outcome.counts.rejected.keys() == {"contaminated", "too_short"}
    assert outcome.details["num_contaminated"] == {"quiz": outcome.counts.rejected["contaminated"]}
