"""Synthesis that is killed, as a whole and in parts, at random moments: no thought is lost, doubled or made again."""

import re
from pathlib import Path

import pytest
from processes import rcpt, wait_until
from synthesis_runs import assert_each_row_once, synthesis_of, synthesize_with_kills, write_corpus

ACTOR = "EngineActor"
ENGINE_CORE = "VLLM::EngineCore"


def _with_fake_engine(folder: Path, num_documents: int, shard_documents: int, kills: list[str], seed: int) -> None:
    write_corpus(folder / "corpus.jsonl", num_documents)
    arguments = synthesis_of(
        folder / "run",
        folder / "corpus.jsonl",
        f"corpus.shard_documents={shard_documents}",
        "thoughts.engine=fake",
        "thoughts.fake.delay_s=0.8",
        "thoughts.pool={max_engines: 2, cpus_per_engine: 0.5, shards_in_flight: 2}",
    )

    under_way = re.compile(rf"thoughts \w+: [\d,]+ of {num_documents:,} rows, \d engines, [\d,]+ tokens/s now.* left")

    def look_from_another_terminal() -> None:
        wait_until(lambda: under_way.search(rcpt("show", str(folder / "run")).stdout) is not None, 30)

    num_shards = num_documents // shard_documents
    synthesize_with_kills(arguments, folder / "run", kills, num_shards, seed, look_from_another_terminal)
    in_flight = 2 * 2 * shard_documents
    assert_each_row_once(folder / "run", num_documents, num_again_at_most=len(kills) * in_flight)


def test_job_and_workers_killed_over_2000_documents(tmp_path: Path) -> None:
    _with_fake_engine(tmp_path, 2_000, 50, ["job", ACTOR, "job", ACTOR], seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_job_and_workers_killed_many_times_over_20000_documents(tmp_path: Path, seed: int) -> None:
    _with_fake_engine(tmp_path, 20_000, 100, ["job", ACTOR, ACTOR, "job", "job", ACTOR, ACTOR, "job"], seed)


@pytest.mark.slow
def test_vllm_engine_worker_and_job_killed(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 160)
    arguments = synthesis_of(
        tmp_path / "run",
        tmp_path / "corpus.jsonl",
        "corpus.shard_documents=8",
        "thoughts.sampling.max_thought_tokens=400",
        "thoughts.pool={cpus_per_engine: 1, shards_in_flight: 2}",
        "thoughts.select.min_thought_tokens=0",
    )
    synthesize_with_kills(arguments, tmp_path / "run", [ENGINE_CORE, ACTOR, "job"], 20, seed=5)
    assert_each_row_once(tmp_path / "run", 160, num_again_at_most=3 * 2 * 8)
