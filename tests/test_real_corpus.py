"""Real court opinions, long and messy, through the whole pipeline with the tiny model."""

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from processes import PROJECT, rcpt
from run_folder import assert_adds_up, manifests, only_folder
from safetensors import safe_open

from rcpt_ray.mixture.tokenize import load_tokenizer

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
        "mixture.delimiters=special",
        "report.baseline=reasoning",
        "arms={reasoning: {}}",
        *more,
    ]


def test_first_200_opinions_with_the_fake_engine(tmp_path: Path) -> None:
    ran = rcpt(*_command(tmp_path / "run", "thoughts.engine=fake"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _assert_every_opinion_is_accounted_for(tmp_path / "run")
    _assert_delimiters_are_tokens_of_the_model(tmp_path / "run")


@pytest.mark.slow
def test_first_200_opinions_with_vllm(tmp_path: Path) -> None:
    ran = rcpt(*_command(tmp_path / "run"), timeout_s=1200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _assert_every_opinion_is_accounted_for(tmp_path / "run")


def _assert_delimiters_are_tokens_of_the_model(run: Path) -> None:
    """The model that was trained has rows for the two tokens, and its tokenizer writes them as one token each."""
    folder = only_folder(run, "training") / "model"
    tokenizer = load_tokenizer(str(folder))
    ids = tokenizer.convert_tokens_to_ids(["<thought>", "</thought>"])
    assert tokenizer.encode("<thought></thought>", add_special_tokens=False) == ids
    with safe_open(folder / "model.safetensors", framework="np") as weights:
        assert weights.get_slice("model.embed_tokens.weight").get_shape()[0] > max(ids)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] > max(ids)
    rows = pq.read_table(next(only_folder(run, "mixture").glob("part-*")), columns=["input_ids"])["input_ids"]
    assert set(ids) <= {token for row in rows.to_pylist() for token in row}


def _assert_every_opinion_is_accounted_for(run: Path) -> None:
    corpus = manifests(run, "corpus")[0]
    assert corpus.counts.num_in == 200
    assert corpus.counts.num_ok > 10
    assert_adds_up(run)
    assert len(manifests(run, "report")) == 1
