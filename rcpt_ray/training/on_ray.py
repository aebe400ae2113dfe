"""Training on Ray Train: one DeepSpeed rank a worker.

The workers write checkpoints and rows into the stage's folder, so a restarted worker group, and a restarted command,
go on from the newest whole checkpoint. The driver follows steps.jsonl for its progress bar.
"""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rcpt_ray.training.loop import TrainingJob, train

_POLL_S = 0.5


def train_on_ray(job: TrainingJob, on_step: Callable[[dict[str, Any]], None]) -> None:
    """Train to the end; `on_step` gets each row of steps.jsonl, those of an earlier attempt too."""
    spec = job.spec
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job},
        torch_config=TorchConfig(backend="nccl" if spec.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=spec.num_workers,
            use_gpu=bool(spec.gpus_per_worker),
            resources_per_worker={"CPU": spec.cpus_per_worker, "GPU": spec.gpus_per_worker},
        ),
        run_config=RunConfig(
            name=f"pid-{os.getpid()}",
            storage_path=str(job.folder / "ray_train"),
            failure_config=FailureConfig(max_failures=spec.max_failures),
        ),
    )
    ended = threading.Event()
    follower = threading.Thread(target=_follow, args=(job.folder / "steps.jsonl", ended, on_step), daemon=True)
    follower.start()
    try:
        trainer.fit()
    finally:
        ended.set()
        follower.join()


def _worker(config: dict[str, Any]) -> None:
    job: TrainingJob = config["job"]
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if job.spec.gpus_per_worker else "cpu")
    context = ray.train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    import torch

    torch.set_num_threads(job.spec.cpus_per_worker)
    train(job, context.get_world_rank(), ray.train.report)


def _follow(path: Path, ended: threading.Event, on_step: Callable[[dict[str, Any]], None]) -> None:
    """Pass on each new whole line of a growing file until the event is set."""
    num_seen = 0
    while True:
        last_look = ended.wait(_POLL_S)
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        for line in lines[num_seen:]:
            on_step(json.loads(line))
        num_seen = max(num_seen, len(lines))
        if last_look:
            return
