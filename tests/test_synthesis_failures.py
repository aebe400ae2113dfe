"""Synthesis that cannot work ends quickly, in one sentence, with exit code 2 and nothing taken for finished."""

import subprocess
from pathlib import Path

import pytest
from processes import rcpt
from run_folder import manifests
from synthesis_runs import receipts, synthesis_of, write_corpus


def _synthesize(run: Path, corpus: Path, *more: str) -> subprocess.CompletedProcess[str]:
    pool = "thoughts.pool={max_engines: 2, cpus_per_engine: 0.5, shards_in_flight: 1}"
    return rcpt("synthesize", *synthesis_of(run, corpus, pool, *more))


def test_engine_that_cannot_start_ends_the_job_with_its_own_words(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 100)
    ran = _synthesize(
        tmp_path / "run",
        tmp_path / "corpus.jsonl",
        "thoughts.engine=fake",
        "thoughts.fake.cannot_start='no such device'",
    )
    assert (ran.returncode, ran.stderr) == (2, "rcpt: thoughts.engine=fake cannot start: no such device\n")
    assert manifests(tmp_path / "run", "thoughts") == []


@pytest.mark.slow
def test_job_that_goes_wrong_is_stopped_before_it_has_paid_for_everything(tmp_path: Path) -> None:
    num_documents, shard_documents = 4_000, 50
    write_corpus(tmp_path / "corpus.jsonl", num_documents)
    ran = _synthesize(
        tmp_path / "run",
        tmp_path / "corpus.jsonl",
        f"corpus.shard_documents={shard_documents}",
        "thoughts.engine=fake",
        "thoughts.max_model_tokens=60",
        "thoughts.sampling.max_thought_tokens=32",
        "thoughts.max_rejected_share=0.4",
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("rcpt: thoughts.max_rejected_share=0.4: the engine rejected ")
    assert ran.stderr.count("\n") == 1
    assert len(receipts(tmp_path / "run")) < num_documents // shard_documents
    assert manifests(tmp_path / "run", "thoughts") == []


@pytest.mark.slow
def test_vllm_that_cannot_start_says_why(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 20)
    wrong = "thoughts.engine_args={quantization: no-such-method}"
    ran = _synthesize(tmp_path / "run", tmp_path / "corpus.jsonl", wrong)
    assert ran.returncode == 2
    assert ran.stderr.startswith("rcpt: thoughts.engine=vllm cannot start: ")
    assert "no-such-method" in ran.stderr
    assert ran.stderr.count("\n") == 1
