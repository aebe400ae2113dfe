"""Thoughts that are paid for are used again: what calls an engine, and for which rows."""

import re
import subprocess
from pathlib import Path

import pytest
from processes import rcpt
from run_folder import manifests, rows

from rcpt_ray.thoughts.meter import read_meters

NO_ENGINE = "thoughts.fake.cannot_start='no engine may start now'"
POISON = "hydrogen"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the STEM samples with two samples a document, some of whose documents ended the fake engine."""
    folder = tmp_path_factory.mktemp("reuse") / "run"
    first = _synthesize(folder, f"thoughts.fake.die_on={POISON}")
    assert first.returncode == 0, first.stdout + first.stderr
    return folder


def _arguments(run: Path) -> list[str]:
    return [
        "jobs/recipes/tiny.yaml",
        f"run={run}",
        "corpus.sources={stem: {path: 'samples://corpus/stem.jsonl', domain: stem}}",
        "corpus.heldout_share=0",
        "thoughts.engine=fake",
        "thoughts.sampling={num_samples: 2, max_thought_tokens: 120}",
        "thoughts.max_rejected_share=0.9",
        "arms={reasoning: {}}",
        "report.baseline=reasoning",
    ]


def _synthesize(run: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return rcpt("synthesize", *_arguments(run), *more)


def _folder_said(ran: subprocess.CompletedProcess[str], stage: str) -> Path:
    """The folder of a stage that a command found or made, in the run that it names."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (name,) = re.findall(rf"\s{stage}/[0-9a-f]+", ran.stdout)
    (run,) = re.findall(r"^run \S+ in (\S+),", ran.stdout)
    return Path(run) / name.strip()


def _num_paid(run: Path) -> int:
    return sum(reading.num_rows for folder in (run / "thoughts").iterdir() for reading in read_meters(folder))


@pytest.mark.parametrize(
    "change",
    ["max_thought_tokens=64", "min_thought_tokens=90", "max_loop_share=0.2", "choose=logprob", "reasoning_span=keep"],
)
def test_truncation_gates_and_choice_call_no_engine(run: Path, change: str) -> None:
    ran = _synthesize(run, NO_ENGINE, f"thoughts.select.{change}")
    assert ran.returncode == 0, ran.stderr
    assert "found    thoughts" in ran.stdout
    assert "made     selected thoughts" in ran.stdout


def test_truncated_thoughts_keep_to_their_limit(run: Path) -> None:
    folder = _folder_said(_synthesize(run, NO_ENGINE, "thoughts.select.max_thought_tokens=64"), "select")
    used = [row["num_thought_tokens"] for row in rows(folder) if row["status"] == "ok"]
    assert used
    assert max(used) <= 64


def test_added_source_generates_its_own_shards_alone(run: Path) -> None:
    before = _num_paid(run)
    ran = _synthesize(
        run,
        f"thoughts.fake.die_on={POISON}",
        "corpus.sources.law={path: 'samples://corpus/law.jsonl', domain: law, max_documents: 4}",
    )
    assert ran.returncode == 0, ran.stderr
    assert _num_paid(run) - before == 2 * 4


def test_scores_are_made_once_and_thresholds_on_them_call_no_engine(run: Path) -> None:
    first = _synthesize(run, NO_ENGINE, "thoughts.select={choose: critic, min_gain_bits: 0.5}")
    assert first.returncode == 0, first.stderr
    again = _synthesize(run, NO_ENGINE, "thoughts.select={choose: critic, min_gain_bits: 4.0}")
    assert again.returncode == 0, again.stderr
    assert "found    scores of thoughts" in again.stdout
    reasons = [one.counts.rejected.get("no_gain", 0) for one in manifests(run, "select") if one.config["min_gain_bits"]]
    assert len(set(reasons)) == 2


def test_export_is_a_dataset_with_a_card(run: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    exported = rcpt("export", *_arguments(run), "--to", str(tmp_path / "out"), "--license", "cc-by-4.0")
    assert exported.returncode == 0, exported.stderr
    dataset = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(dataset) == sum(
        row["status"] == "ok" for row in rows(_folder_said(_synthesize(run, NO_ENGINE), "select"))
    )
    assert {"doc_id", "text", "thought", "model_revision", "prompt_digest", "seed"} <= set(dataset.column_names)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "## Prompt `expert@" in card
    again = rcpt("export", *_arguments(run), "--to", str(tmp_path / "out"))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_rejected_thoughts_are_tried_again_and_nothing_else(run: Path) -> None:
    folder = _folder_said(_synthesize(run, NO_ENGINE), "thoughts")
    rejected = [row for row in rows(folder) if row["status"] != "ok"]
    assert {row["reason"] for row in rejected} == {"engine_died"}
    before = _num_paid(run)
    ran = _synthesize(run, "--retry-rejected")
    assert f"{len(rejected)} rejected thoughts are tried again" in ran.stdout
    assert _num_paid(run) - before == len(rejected)
    made = rows(_folder_said(ran, "thoughts"))
    assert {row["status"] for row in made} == {"ok"}
    assert len({(row["doc_id"], row["sample_index"]) for row in made}) == len(made) == 80
    assert sum(row["attempts"] > 1 for row in made) >= len(rejected)
    again = _synthesize(run, "--retry-rejected", NO_ENGINE)
    assert (again.returncode, "no rejected thoughts to try again" in again.stdout) == (0, True)
