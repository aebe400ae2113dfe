"""What the command does around the workers of a streaming training: its end may be made again and again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mixture_fixtures import quiet_bar
from stream_fixtures import pack_all, plan_of, work_of

from rcpt_ray.artifacts import open_run
from rcpt_ray.errors import UserError
from rcpt_ray.records import STEP
from rcpt_ray.show import print_run
from rcpt_ray.thoughts.meter import Meter
from rcpt_ray.thoughts.tries import Span, Tries
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.stream.outcome import make_streaming
from rcpt_ray.training.stream.packer import Packer
from rcpt_ray.training.stream.record import Record
from rcpt_ray.training.stream.timeline import Timeline, timeline_file
from rcpt_ray.training.stream.work import StreamWork


def job_of(folder: Path) -> TrainingJob:
    plan = plan_of()
    spec = TrainingSpec(global_batch_rows=plan.global_batch_rows, num_workers=1, feed="stream")
    return TrainingJob(spec, plan, 1, "no model", [], folder, "no model")


def leave_trained(work: StreamWork, job: TrainingJob) -> None:
    """What workers leave that have trained on all that was recorded."""
    (job.folder / "model").mkdir()
    row = dict.fromkeys(STEP.names, 1.0) | {"num_tokens": 100, "memory_bytes": 1}
    steps = [row | {"step": step} for step in range(Record(work.folder).num_batches())]
    (job.folder / "steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (job.folder / "peak.json").write_text('{"precision": "fp32"}')
    looked = Timeline(work, steps, quiet_bar()).look()
    timeline_file(work.folder).write_text(json.dumps(looked) + "\n")


@pytest.mark.parametrize("killed", ["after the cleanup", "within the cleanup", "before the cleanup"])
def test_command_killed_at_the_end_is_ended_by_the_next_one(tmp_path: Path, killed: str) -> None:
    work, job = work_of(tmp_path), job_of(tmp_path)
    pack_all(work, Packer(work), work.items())
    leave_trained(work, job)
    kept = tmp_path / "kept"
    shutil.copytree(work.folder, kept)
    first = make_streaming(job, work, quiet_bar())
    assert not list(work.folder.glob("batch-*")) and not work.tokens_folder.exists()
    if killed == "before the cleanup":
        shutil.copytree(kept, work.folder, dirs_exist_ok=True)
    elif killed == "within the cleanup":
        shutil.copy(kept / "batch-00000001.parquet", work.folder)
        work.tokens_folder.mkdir()
    assert make_streaming(job, work, quiet_bar()) == first
    assert not list(work.folder.glob("batch-*")) and not work.tokens_folder.exists()
    rows: list[dict[str, Any]] = pq.ParquetFile(next((tmp_path / "record").glob("*.parquet"))).read().to_pylist()
    assert len(rows) == first.details["num_rows"]


@pytest.mark.parametrize("cause", ["nothing can be drawn", "too many are rejected"])
def test_stream_that_was_refused_at_its_end_is_refused_by_each_later_command(tmp_path: Path, cause: str) -> None:
    work, job = work_of(tmp_path, num_tokens=1 if cause == "nothing can be drawn" else None), job_of(tmp_path)
    patient = work.generation
    if cause == "too many are rejected":
        strict = patient.spec.model_copy(update={"max_rejected_share": 0.1})
        work = replace(work, generation=patient.with_spec(strict))
    packer = Packer(work)
    pack_all(work, packer, work.items())
    for _ in range(2):
        with pytest.raises(UserError) as told:
            make_streaming(job, work, quiet_bar())
        assert str(told.value) == packer.failure() != ""
    assert not (job.folder / "model").exists()
    if cause == "too many are rejected":
        leave_trained(work, job)
        assert make_streaming(job, replace(work, generation=patient), quiet_bar()).details["num_rows"] > 0


def test_timeline_counts_steps_without_their_waiting(tmp_path: Path) -> None:
    earlier = {"step": 0, "seconds": 2.0, "wait_seconds": 30.0}
    timeline = Timeline(work_of(tmp_path), [earlier], quiet_bar())
    timeline.step({"step": 1, "seconds": 1.0, "wait_seconds": 60.0})
    timeline.step({"step": 1, "seconds": 1.5, "wait_seconds": 0.0})
    looked = timeline.look()
    assert (looked["num_steps"], looked["step_seconds"]) == (2, 3.5)


def test_show_says_how_far_a_streaming_training_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    open_run(run, {"name": "demo"})
    work = replace(work_of(tmp_path), folder=run / "training" / "a-fingerprint" / "stream")
    work.folder.mkdir(parents=True)
    print_run(str(run))
    assert "training a-fingerprint" not in capsys.readouterr().out, "it has not begun"
    looked = Timeline(work, [{"step": 0, "seconds": 2.0}], quiet_bar()).look()
    said = f"training a-fingerprint: 1 steps, 0 of 0 engines write, {looked['num_thoughts']} thoughts, 0 batches"
    with timeline_file(work.folder).open("a") as lines:
        lines.write(json.dumps(looked) + "\n" + '{"time_s": 17')
    print_run(str(run))
    assert f"{said}\n" in capsys.readouterr().out
    timeline_file(work.folder).write_text(json.dumps(looked | {"time_s": looked["time_s"] - 7200}) + "\n")
    print_run(str(run))
    assert f"{said} (nobody works on it since 2 h" in capsys.readouterr().out


def test_requests_in_flight_when_an_attempt_ended_are_no_suspects_of_the_next(tmp_path: Path) -> None:
    work, whole = work_of(tmp_path), Span(0, 4)
    attempts = [work.new_attempt() for _ in range(3)]
    for attempt in attempts:
        tries = Tries(tmp_path, "shard-0", 4, attempt)
        assert tries.plan() == [(whole, "try")] and tries.num_deaths(whole) == 0
        tries.begin(whole)
    for attempt in attempts:
        Meter(work.thoughts_folder, attempt).say("running")
    Meter(work.thoughts_folder, f"{work.session} of another command").say("running")
    assert Timeline(work, [], quiet_bar()).look()["engines_up"] == len(attempts)
