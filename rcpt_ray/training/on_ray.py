"""Training on Ray Train: one DeepSpeed rank a worker; one start of the workers serves several jobs in turn.

The workers write checkpoints and rows into the stage's folder, so a restarted worker group, and a restarted command,
go on from the newest whole checkpoint. The driver follows steps.jsonl for its progress bar; `ray.train.report` is not
called, because it blocks each step until Ray Train's next poll, every two seconds.
"""

import gc
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.stream.feed import StreamFailed, failure_file
from rcpt_ray.training.stream.on_ray import data_of, feed_of
from rcpt_ray.training.stream.work import StreamWork

_POLL_S = 0.5


def train_on_ray(
    jobs: Sequence[TrainingJob], on_step: Callable[[dict[str, Any]], None], stream: StreamWork | None = None
) -> None:
    """Train each job to its end; `on_step` gets each row of their steps.jsonl, those of an earlier attempt too.

    With `stream` there is one job, and it is fed by that.
    """
    spec = jobs[0].spec
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"jobs": list(jobs), "stream": stream},
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
        **data_of(stream),
    )
    ended = threading.Event()
    files = [job.folder / "steps.jsonl" for job in jobs]
    follower = threading.Thread(target=_follow, args=(files, ended, on_step), daemon=True)
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
    # Before anything heavy: engines start while the workers do.
    feed = None if config["stream"] is None else feed_of(config["stream"], context.get_world_rank())
    import torch

    torch.set_num_threads(jobs[0].spec.cpus_per_worker)
    for job in jobs:
        try:
            train(job, context.get_world_rank(), feed)
        except StreamFailed as failure:
            # No fault of the workers: starting them again would not help, so they end as if all were well.
            write_atomic(failure_file(job.folder), str(failure))
        gc.collect()


def _follow(files: Sequence[Path], ended: threading.Event, on_step: Callable[[dict[str, Any]], None]) -> None:
    """Pass on each new whole line of growing files until the event is set."""
    num_seen = dict.fromkeys(files, 0)
    while True:
        last_look = ended.wait(_POLL_S)
        for file in files:
            lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
            for line in lines[num_seen[file] :]:
                on_step(json.loads(line))
            num_seen[file] = max(num_seen[file], len(lines))
        if last_look:
            return
