"""Workers that die, hang or are about to be taken away under Ray Train, and disks that are full."""

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from training_runs import (
    Ranks,
    assert_same_training,
    finish,
    follow_with_another_attempt,
    job_of,
    limit_files,
    lose_storage,
    losses,
    stop,
    write_mixture,
)

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.command import StageFailed, failure
from rcpt_ray.errors import UserError
from rcpt_ray.terminal import Terminal
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.outcome import begin
from rcpt_ray.training.refusal import refuse
from rcpt_ray.training.saved import latest_checkpoint

NUM_STEPS = 150
NUM_ROWS = 4 * NUM_STEPS
SETTINGS = {"num_workers": 2, "zero_stage": 2, "precision": "bf16", "checkpoint_every_steps": 10}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), NUM_ROWS)


@pytest.fixture(scope="module")
def short_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), 40)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, mixture: Path) -> Path:
    """The training as it should come out, made without Ray."""
    job = job_of(tmp_path_factory.mktemp("undisturbed"), tiny_model_folder, mixture, NUM_ROWS, **SETTINGS)
    finish(job)
    return job.folder


@pytest.fixture
def ray_started() -> Iterator[None]:
    with cluster.session():
        cluster.connect(ClusterSpec(num_cpus=2))
        yield


def train_and(job: TrainingJob, at_step: int, disturb: Callable[[], None]) -> None:
    """Train on Ray; `disturb` is called once, soon after a step."""
    from rcpt_ray.training.on_ray import train_on_ray

    waiting = [disturb]

    def on_step(row: dict[str, Any]) -> None:
        if row["step"] >= at_step and waiting:
            waiting.pop()()

    train_on_ray([job], on_step)
    assert not waiting, "the training ended before it could be disturbed"


def train_workers() -> list[psutil.Process]:
    """The processes of Ray Train's workers below this one."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]


def test_worker_that_waits_in_vain_says_so(tmp_path: Path, tiny_model_folder: Path, short_mixture: Path) -> None:
    job = job_of(tmp_path, tiny_model_folder, short_mixture, 40, num_workers=2, collective_timeout_s=10)
    ranks = Ranks(job, partial(stop, 2))
    assert ranks.end()[0] == 1
    assert "CollectiveTimeout: another worker gave no answer for training.collective_timeout_s=10;" in ranks.sentence()


def test_full_disk_loses_the_steps_since_the_last_checkpoint(
    tmp_path: Path, tiny_model_folder: Path, short_mixture: Path
) -> None:
    """A rank's part takes 1.1 MB; from step 3 on the second rank may write no more than a tenth of a MB."""
    settings = {"num_workers": 2, "precision": "fp32", "checkpoint_every_steps": 3}
    whole, cut = (
        job_of(tmp_path / name, tiny_model_folder, short_mixture, 40, **settings) for name in ("whole", "cut")
    )
    ranks = Ranks(cut, partial(limit_files, 3, 100_000))
    assert ranks.end()[1] == 1
    assert "CheckpointError: the checkpoint of step 6 could not be written" in ranks.sentence()
    assert "File too large" in ranks.sentence()
    assert "training goes on from step 3" in ranks.sentence()
    assert latest_checkpoint(cut.folder / "checkpoints") == 3
    finish(cut)
    finish(whole)
    assert_same_training(whole.folder, cut.folder)


def test_an_attempt_that_another_has_followed_makes_no_checkpoint_whole(
    tmp_path: Path, tiny_model_folder: Path, short_mixture: Path
) -> None:
    """As workers do that outlive their killed command."""
    job = job_of(tmp_path, tiny_model_folder, short_mixture, 40, precision="fp32", checkpoint_every_steps=3)
    ranks = Ranks(job, partial(follow_with_another_attempt, 3))
    assert ranks.end() == [1]
    assert "the checkpoint of step 6 could not be written" in ranks.sentence()
    assert latest_checkpoint(tmp_path / "checkpoints") == 3


def test_lost_storage_leaves_the_checkpoint_before(
    tmp_path: Path, tiny_model_folder: Path, short_mixture: Path
) -> None:
    job = job_of(tmp_path, tiny_model_folder, short_mixture, 40, precision="fp32", checkpoint_every_steps=3)
    ranks = Ranks(job, partial(lose_storage, 3))
    assert ranks.end() == [1]
    assert "the checkpoint of step 6 could not be written" in ranks.sentence()
    assert latest_checkpoint(tmp_path / "away") == 3


def announce_that_the_machine_leaves() -> None:
    """A spot notice for the only machine, an hour ahead."""
    import ray
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = ray._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
    accepted, why_not = client.drain_node(ray.nodes()[0]["NodeID"], reason, "", int(time.time() + 3600) * 1000)
    assert accepted, why_not


@pytest.mark.slow
def test_worker_that_is_killed_is_replaced_and_nothing_else_changes(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, undisturbed: Path, ray_started: None
) -> None:
    job = job_of(tmp_path / "job", tiny_model_folder, mixture, NUM_ROWS, **SETTINGS)
    train_and(job, 15, lambda: train_workers()[-1].kill())
    assert_same_training(undisturbed, job.folder)


@pytest.mark.slow
def test_worker_that_hangs_ends_the_attempt_and_does_not_stay(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, undisturbed: Path, ray_started: None
) -> None:
    job = job_of(tmp_path / "job", tiny_model_folder, mixture, NUM_ROWS, **SETTINGS, collective_timeout_s=20)
    stopped = list[psutil.Process]()

    def stop_one() -> None:
        stopped.append(train_workers()[-1])
        os.kill(stopped[0].pid, signal.SIGSTOP)

    train_and(job, 15, stop_one)
    assert not stopped[0].is_running()
    assert losses(job.folder) == losses(undisturbed)


@pytest.mark.slow
def test_spot_notice_brings_a_checkpoint_between_the_regular_ones(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, ray_started: None
) -> None:
    settings = SETTINGS | {"checkpoint_every_steps": 10_000, "num_epochs": 8}
    job = job_of(tmp_path / "job", tiny_model_folder, mixture, NUM_ROWS, **settings)
    train_and(job, 1, announce_that_the_machine_leaves)
    assert latest_checkpoint(job.folder / "checkpoints") is not None


@pytest.mark.slow
def test_more_failures_than_allowed_end_the_training_with_a_sentence(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, ray_started: None
) -> None:
    job = job_of(
        tmp_path / "job", tiny_model_folder, mixture, NUM_ROWS, **SETTINGS, collective_timeout_s=20, max_failures=0
    )
    with pytest.raises(Exception, match="worker errors") as failed:
        train_and(job, 1, lambda: os.kill(train_workers()[-1].pid, signal.SIGSTOP))
    terminal = Terminal(Console(file=io.StringIO(), width=1000))
    assert isinstance(failure(failed.value, terminal, tmp_path / "log"), StageFailed)
    said = terminal.console.file.getvalue()  # type: ignore[attr-defined]
    assert "CollectiveTimeout: another worker gave no answer for training.collective_timeout_s=20" in said


@pytest.mark.slow
def test_failures_are_counted_anew_where_the_training_got_on(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, undisturbed: Path, ray_started: None
) -> None:
    """Three workers are killed one after another, where two failures would be too many."""
    from rcpt_ray.training.on_ray import train_on_ray

    job = job_of(tmp_path / "job", tiny_model_folder, mixture, NUM_ROWS, **SETTINGS, max_failures=1)
    at_steps = [15, 55, 95]

    def kill_one(row: dict[str, Any]) -> None:
        if at_steps and row["step"] >= at_steps[0]:
            at_steps.pop(0)
            train_workers()[-1].kill()

    train_on_ray([job], kill_one)
    assert not at_steps, "the training ended before it could be disturbed"
    assert_same_training(undisturbed, job.folder)


@pytest.mark.slow
def test_a_mistake_that_one_rank_comes_to_ends_the_run_with_its_words(
    tmp_path: Path, tiny_model_folder: Path, short_mixture: Path, ray_started: None
) -> None:
    """The second rank's row groups are spoilt; the first one's are not."""
    job = job_of(tmp_path / "job", tiny_model_folder, short_mixture, 40, num_workers=2, collective_timeout_s=60)
    refuse(job, UserError("left by an earlier command"))
    spoilt = tmp_path / "part-0.parquet"
    spoilt.write_bytes(short_mixture.read_bytes())
    content = bytearray(spoilt.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    spoilt.write_bytes(content)
    begin(job)
    from rcpt_ray.training.on_ray import train_on_ray

    broken = replace(job, mixture_parts=[spoilt])
    with pytest.raises(UserError, match="part-0.parquet"):
        train_on_ray([broken], lambda row: None)
