"""Training on Ray Train: one DeepSpeed rank a worker; one start of the workers serves several jobs in turn.

The workers write checkpoints and rows into the stage's folder, so a restarted worker group, and a restarted command,
go on from the newest whole checkpoint. The driver follows steps.jsonl for its progress bar; `ray.train.report` is not
called, because it blocks each step until Ray Train's next poll, every two seconds.
"""

import gc
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rcpt_ray.training.guard import TrainingStopped
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.row_file import Follower
from rcpt_ray.training.watch import HELDOUT, STEPS

_POLL_S = 0.5


def train_on_ray(jobs: Sequence[TrainingJob], on_step: Callable[[dict[str, Any]], None]) -> None:
    """Train each job to its end, or until the guard stops one of them, which it leaves word of.

    `on_step` gets each row of their steps.jsonl and heldout.jsonl, those of an earlier attempt too.
    """
    spec = jobs[0].spec
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"jobs": list(jobs)},
        torch_config=TorchConfig(
            backend="nccl" if spec.gpus_per_worker else "gloo", timeout_s=spec.collective_timeout_s
        ),
        scaling_config=ScalingConfig(
            num_workers=spec.num_workers,
            use_gpu=bool(spec.gpus_per_worker),
            resources_per_worker={"CPU": spec.cpus_per_worker, "GPU": spec.gpus_per_worker},
        ),
        run_config=RunConfig(
            name=f"pid-{os.getpid()}",
            storage_path=str(jobs[0].folder / "ray_train"),
            failure_config=FailureConfig(max_failures=spec.max_failures),
        ),
    )
    ended = threading.Event()
    rows = Follower([job.folder / name for job in jobs for name in (HELDOUT, STEPS)])
    follower = threading.Thread(target=_follow, args=(rows, ended, on_step), daemon=True)
    follower.start()
    try:
        trainer.fit()
    finally:
        ended.set()
        follower.join()


def _worker(config: dict[str, Any]) -> None:
    jobs: list[TrainingJob] = config["jobs"]
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if jobs[0].spec.gpus_per_worker else "cpu")
    context = ray.train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    import torch

    torch.set_num_threads(jobs[0].spec.cpus_per_worker)
    for job in jobs:
        try:
            train(job, context.get_world_rank())
        except TrainingStopped:
            return  # an exception would have Ray Train start the workers again, only to stop again
        gc.collect()


def _follow(rows: Follower, ended: threading.Event, on_step: Callable[[dict[str, Any]], None]) -> None:
    """Pass on each new row until the event is set."""
    while True:
        last_look = ended.wait(_POLL_S)
        for row in rows.new_rows():
            on_step(row)
        if last_look:
            return
