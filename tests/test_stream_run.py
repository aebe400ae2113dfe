"""The streaming feed end to end: training runs beside synthesis, and a command killed with SIGKILL is gone on with.

The thoughts of one document wait for a file, so training can only have begun before synthesis ended.
"""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from processes import rcpt, start_rcpt, wait_until
from run_folder import assert_adds_up, manifests, only_folder, rows

from rcpt_ray.artifacts import Manifest

SHARES = {"stem/thought": 0.6, "law/raw": 0.4}
NUM_DOCUMENTS = 60
HELD = "held until the test says so"


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that was killed while engines and workers were busy, then finished by the same command."""
    folder = tmp_path_factory.mktemp("streamed")
    run, released = folder / "run", folder / "released"
    command = ["train", "jobs/recipes/stream.yaml", *_overrides(folder, run, released)]
    process = start_rcpt(*command)
    try:
        wait_until(lambda: _steps_seen(run) >= 5 or process.poll() is not None, 300)
        assert process.poll() is None, process.communicate()[0]
        before = {"steps": _steps(run), "receipts": _receipts(run)}
    finally:
        _kill_tree(process.pid)
        process.wait()
    assert not manifests(run, "thoughts")
    released.touch()
    finished = rcpt(*command)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return {"run": run, "command": command, "before": before}


def _overrides(folder: Path, run: Path, released: Path) -> list[str]:
    for source, num_words in (("stem", 60), ("law", 110)):
        with (folder / f"{source}.jsonl").open("w", encoding="utf-8") as lines:
            for number in range(NUM_DOCUMENTS):
                held = HELD if (source, number) == ("stem", NUM_DOCUMENTS - 1) else "words"
                text = f"{source} {number} {held} " + f"w{number} and so on " * (num_words // 4 + number % 7)
                lines.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return [
        f"run={run}",
        f"corpus.sources.stem.path={folder / 'stem.jsonl'}",
        f"corpus.sources.law.path={folder / 'law.jsonl'}",
        "corpus.heldout_share=0",
        "corpus.near_duplicates=null",
        "thoughts.engine=fake",
        f"thoughts.fake={{hold_on: {HELD}, hold_until: {released}}}",
        "cluster.num_cpus=2",
        "corpus.shard_documents=5",
        "training.stream.pool_rows=2",
    ]


def _steps(run: Path) -> list[dict[str, Any]]:
    text = "".join(file.read_text() for file in run.glob("training/*/steps.jsonl"))
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _steps_seen(run: Path) -> int:
    """Steps trained, as the timeline has them."""
    text = "".join(file.read_text() for file in run.glob("training/*/stream/timeline.jsonl"))
    return max((json.loads(line)["num_steps"] for line in text.split("\n")[:-1]), default=0)


def _receipts(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.glob("thoughts/*/part-*.json")}


def _kill_tree(pid: int) -> None:
    """The command and all that it started, at once and without a word."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=30)


def _training(streamed: dict[str, Any]) -> tuple[Path, Manifest]:
    (manifest,) = manifests(streamed["run"], "training")
    return only_folder(streamed["run"], "training"), manifest


def test_training_began_before_synthesis_ended(streamed: dict[str, Any]) -> None:
    folder, _ = _training(streamed)
    timeline = pq.read_table(folder / "timeline.parquet").to_pylist()
    at_first_step = next(row["num_thoughts"] for row in timeline if row["num_steps"])
    assert at_first_step < timeline[-1]["num_thoughts"]
    assert streamed["before"]["receipts"], "thoughts were finished while others were held"
    assert any(row["engines_busy"] and row["num_steps"] for row in timeline)


def test_every_document_was_trained_on_once_and_the_shares_hold(streamed: dict[str, Any]) -> None:
    """Stem's thoughts are what there is least of, so each of them is drawn, and law's texts up to their share."""
    folder, manifest = _training(streamed)
    recorded = [piece for row in rows(folder / "record") for piece in row["pieces"]]  # type: ignore[attr-defined]
    drawn = Counter((piece["component"], piece["doc_id"], piece["start"]) for piece in recorded)
    assert set(drawn.values()) == {1}
    assert sum(component == "stem/thought" for component, *_ in drawn) == NUM_DOCUMENTS
    for component, share in SHARES.items():
        assert manifest.details["achieved"][component] == pytest.approx(share, abs=0.02)
    assert manifest.counts.num_in == 2 * NUM_DOCUMENTS
    assert manifest.counts.num_ok == len({key[:2] for key in drawn})
    assert manifest.details["num_rows"] == len(rows(folder / "record"))


def test_replayed_steps_have_the_same_batches_and_the_same_losses_to_the_last_bit(streamed: dict[str, Any]) -> None:
    folder, manifest = _training(streamed)
    before, after = streamed["before"]["steps"], pq.read_table(folder / "steps.parquet").to_pylist()
    assert [row["step"] for row in after] == list(range(manifest.details["num_steps"]))
    assert len(after) > len(before)
    for name in ("loss", "loss_text", "grad_norm", "learning_rate", "num_tokens"):
        assert [row[name] for row in after[: len(before)]] == [row[name] for row in before]


def test_nothing_was_paid_for_twice_and_the_thoughts_stage_is_an_ordinary_one(streamed: dict[str, Any]) -> None:
    run, receipts = streamed["run"], streamed["before"]["receipts"]
    assert {path: path.stat().st_mtime_ns for path in receipts} == receipts, "a finished shard was made again"
    assert_adds_up(run)
    assert manifests(run, "thoughts")[0].counts.num_in == 2 * NUM_DOCUMENTS


def test_second_command_finds_everything_finished(streamed: dict[str, Any]) -> None:
    again = rcpt(*streamed["command"], timeout_s=60)
    assert again.returncode == 0, again.stderr
    assert "made" not in again.stdout
