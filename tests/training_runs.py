"""Trainings in processes of their own, without Ray: ranks that can be killed, stopped and started again.

A fork server imports the libraries once, so that a rank starts in a tenth of a second.
"""

import json
import multiprocessing
import os
import resource
import signal
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from processes import wait_until

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.saved import ATTEMPT, latest_checkpoint, read_weights, whole_checkpoints
from rcpt_ray.training.spec import TrainingSpec

ROW_TOKENS = 32
SEED = 17

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["torch", "deepspeed", "transformers", "peft", "rcpt_ray.training.loop"])


def write_mixture(folder: Path, num_rows: int) -> Path:
    """Packed rows of random tokens, two documents a row."""
    import pyarrow as pa

    lengths = [ROW_TOKENS // 2] * (2 * num_rows)
    ids = np.random.default_rng(3).integers(4, 500, sum(lengths)).astype(np.int32)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    documents = Documents([f"d{n}" for n in range(len(lengths))], ids, np.ones(len(ids), np.int8), starts)
    part = folder / "part-0.parquet"
    write_table(part, pa.concat_tables(pack(documents, ROW_TOKENS, padding_id=3, seed=[1])))
    return part


def job_of(folder: Path, model: Path, mixture: Path, num_rows: int, **settings: Any) -> TrainingJob:
    """A job of num_rows / 4 steps in its own folder."""
    spec = TrainingSpec(**({"global_batch_rows": 4, "learning_rate": 0.01, "num_workers": 1} | settings))
    plan = make_plan(spec, num_rows, ROW_TOKENS, SEED)
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(spec, plan, num_rows * ROW_TOKENS, str(model), [mixture], folder, str(model))


Disturbance = Callable[[TrainingJob, int, int], None]
"""What a rank does before it reads the rows of a step: takes the job, the rank and the step."""


class DisturbedFeed(PackedFeed):
    """The job's rows, with a disturbance before each step."""

    def __init__(self, job: TrainingJob, rank: int, disturb: Disturbance) -> None:
        super().__init__(job.mixture_parts, job.plan, rank)
        self._job, self._job_rank, self._disturb = job, rank, disturb

    def batches(self, step: int) -> list[Batch] | None:
        self._disturb(self._job, self._job_rank, step)
        return super().batches(step)


def wait_for_checkpoint(job: TrainingJob, step: int) -> None:
    """Until the checkpoint of a step is whole."""
    wait_until(lambda: latest_checkpoint(job.folder / "checkpoints") == step, 60)


def die(at_step: int, job: TrainingJob, rank: int, step: int) -> None:
    """Kill the process before a step, once the checkpoint of that many steps is whole."""
    if step == at_step:
        wait_for_checkpoint(job, step)
        os.kill(os.getpid(), signal.SIGKILL)


def stop(at_step: int, job: TrainingJob, rank: int, step: int) -> None:
    """Stop rank 1 before a step."""
    if step == at_step and rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)


def limit_files(at_step: int, num_bytes: int, job: TrainingJob, rank: int, step: int) -> None:
    """From a step on, no file of the last rank may be larger: as on a full disk, writing fails."""
    if step == at_step and rank == job.spec.num_workers - 1:
        wait_for_checkpoint(job, step)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def follow_with_another_attempt(at_step: int, job: TrainingJob, rank: int, step: int) -> None:
    """Before a step, another attempt at the same training says that it has begun."""
    if step == at_step:
        wait_for_checkpoint(job, step)
        (job.folder / "checkpoints" / ATTEMPT).write_text("0a1b2c3d")


def lose_storage(at_step: int, job: TrainingJob, rank: int, step: int) -> None:
    """Before a step, the folder of the checkpoints is taken away and cannot be made again."""
    if step == at_step and rank == 0:
        wait_for_checkpoint(job, step)
        folder = job.folder / "checkpoints"
        folder.rename(job.folder / "away")
        folder.touch()


class Ranks:
    """The processes of one attempt at a job."""

    def __init__(self, job: TrainingJob, disturb: Disturbance | None = None) -> None:
        self.job = job
        self._store = job.folder / f"store-{uuid.uuid4().hex}"
        self.processes = [
            _server.Process(target=_train, args=(job, rank, str(self._store), disturb), daemon=True)
            for rank in range(job.spec.num_workers)
        ]
        for process in self.processes:
            process.start()

    def end(self, timeout_s: float = 120) -> list[int | None]:
        """Wait for the first to fail, else for all; the others are ended; exit codes."""
        import multiprocessing.connection

        left = list(self.processes)
        while left:
            ready = multiprocessing.connection.wait([process.sentinel for process in left], timeout_s)
            gone = [process for process in left if process.sentinel in ready]
            for process in gone:
                process.join()
            left = [process for process in left if process not in gone]
            if not gone or any(process.exitcode for process in gone):
                break
        self.kill()
        return [process.exitcode for process in self.processes]

    def kill(self) -> None:
        """End all of them with SIGKILL, stopped ones too."""
        for process in self.processes:
            process.kill()
            process.join()

    def sentence(self) -> str:
        """What the first rank that failed said last."""
        (file, *_) = sorted(self.job.folder.glob("failed-*.txt"))
        return file.read_text().strip().splitlines()[-1]


def finish(job: TrainingJob) -> None:
    """Run a job to its end."""
    ranks = Ranks(job)
    assert set(ranks.end()) == {0}, ranks.sentence()


def run_until_killed(job: TrainingJob, at_step: int) -> None:
    """Run a job until kill -9 ends its ranks before a step."""
    assert -signal.SIGKILL in Ranks(job, partial(die, at_step)).end()


def _join(job: TrainingJob, rank: int, store: str) -> None:
    """Join the other ranks of an attempt."""
    from datetime import timedelta

    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["LOCAL_RANK"] = str(rank)
    os.environ["RANK"] = str(rank)
    os.environ["WORLD_SIZE"] = str(job.spec.num_workers)
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=job.spec.num_workers,
        timeout=timedelta(seconds=job.spec.collective_timeout_s),
    )


def _train(job: TrainingJob, rank: int, store: str, disturb: Disturbance | None) -> None:
    from rcpt_ray.training.loop import train
    from rcpt_ray.training.waits import named_waits

    try:
        _join(job, rank, store)
        with named_waits(job.spec.collective_timeout_s):
            train(job, rank, DisturbedFeed(job, rank, disturb) if disturb else None)
    except BaseException:
        (job.folder / f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise


def losses(folder: Path) -> list[float]:
    """Losses of all steps, as written."""
    return [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, Any]:
    """The model that came out."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "model" / "model.safetensors"))


def last_masters(folder: Path) -> dict[str, Any]:
    """The fp32 weights of the last checkpoint."""
    return read_weights(whole_checkpoints(folder / "checkpoints")[-1])


def assert_same_training(one: Path, other: Path) -> None:
    """Losses, the last checkpoint's weights and the model, bit for bit."""
    import torch

    assert losses(one) == losses(other)
    for read in (last_masters, weights):
        here, there = read(one), read(other)
        assert here.keys() == there.keys()
        assert all(torch.equal(here[name], there[name]) for name in here)
