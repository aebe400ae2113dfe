"""Real court opinions, long and messy, through the whole pipeline with the tiny model."""

import os
from pathlib import Path

import pytest
from processes import PROJECT, rcpt
from run_folder import assert_adds_up, manifests

SHARED = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared"))
OPINIONS = SHARED / "data" / "corpus" / "law_opinions.parquet"

pytestmark = pytest.mark.skipif(
    not OPINIONS.exists(), reason="the law opinions are not here; set RCPT_SHARED to the folder that holds data/corpus"
)


def _command(run: Path, *more: str) -> list[str]:
    return [
        "run",
        "jobs/recipes/tiny.yaml",
        f"run={run}",
        f"corpus.sources={{law: {{path: {OPINIONS}, domain: law, max_documents: 200}}}}",
        "corpus.max_words=1500",
        "corpus.shard_documents=16",
        "thoughts.max_model_tokens=2048",
        "evaluation.tasks={}",
        "thoughts.max_rejected_share=0.9",
        "mixture.row_tokens=1024",
        "report.baseline=reasoning",
        "arms={reasoning: {}}",
        *more,
    ]


def test_first_200_opinions_with_the_fake_engine(tmp_path: Path) -> None:
    ran = rcpt(*_command(tmp_path / "run", "thoughts.engine=fake"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _assert_every_opinion_is_accounted_for(tmp_path / "run")


@pytest.mark.slow
def test_first_200_opinions_with_vllm(tmp_path: Path) -> None:
    ran = rcpt(*_command(tmp_path / "run"), timeout_s=1200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _assert_every_opinion_is_accounted_for(tmp_path / "run")


def _assert_every_opinion_is_accounted_for(run: Path) -> None:
    corpus = manifests(run, "corpus")[0]
    assert corpus.counts.num_in == 200
    assert corpus.counts.num_ok > 10
    assert_adds_up(run)
    assert len(manifests(run, "report")) == 1
