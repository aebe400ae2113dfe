"""The streaming feed end to end: training runs beside synthesis, and a command killed with SIGKILL is gone on with.

The thoughts of one document wait for a file, so training can only have begun before synthesis ended.
"""

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from processes import rcpt, start_rcpt, wait_until
from run_folder import assert_adds_up, manifests, only_folder, rows
from stream_runs import NUM_DOCUMENTS, SHARES, receipts, steps, steps_seen, streaming_of

from rcpt_ray.artifacts import Manifest


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run that was killed while engines and workers were busy, then finished by the same command."""
    folder = tmp_path_factory.mktemp("streamed")
    # No checkpoint is taken, so that the second command trains on every step of the first one again.
    run, command = folder / "run", ["train", *streaming_of(folder, "training.checkpoint_every_steps=1000")]
    process = start_rcpt(*command)
    try:
        wait_until(lambda: steps_seen(run) >= 5 or process.poll() is not None, 300)
        assert process.poll() is None, process.communicate()[0]
        before = {"steps": steps(run), "receipts": receipts(run)}
    finally:
        _kill_tree(process.pid)
        process.wait()
    assert not manifests(run, "thoughts")
    (folder / "released").touch()
    finished = rcpt(*command)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return {"run": run, "command": command, "before": before}


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
    run, before = streamed["run"], streamed["before"]["receipts"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished shard was made again"
    assert_adds_up(run)
    assert manifests(run, "thoughts")[0].counts.num_in == 2 * NUM_DOCUMENTS


def test_second_command_finds_everything_finished(streamed: dict[str, Any]) -> None:
    again = rcpt(*streamed["command"], timeout_s=60)
    assert again.returncode == 0, again.stderr
    assert "made" not in again.stdout
