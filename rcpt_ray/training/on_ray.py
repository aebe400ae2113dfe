"""Training on Ray Train: one DeepSpeed rank a worker; one start of the workers serves several jobs in turn.

The workers write checkpoints and rows into the stage's folder, so a restarted worker group, and a restarted command,
go on from the newest whole checkpoint. The driver follows steps.jsonl for its progress bar; `ray.train.report` is not
called, because it blocks each step until Ray Train's next poll, every two seconds.

A worker that dies, hangs or cannot write its checkpoint ends the attempt, and Ray Train starts the workers again, up to
`max_failures` times, counted anew where that got the training on; machines that leave with a notice are not counted.
Workers that cannot start at all are given up after as many times (failures_on_ray.py).
What another attempt would only repeat (the user's mistake, a loss that is no number) is returned by the workers instead
of raised, and raised by the driver.

Workers whose machines are not there yet are asked for again every minute, for as long as it takes: that is no failure.
"""

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from rcpt_ray import cluster
from rcpt_ray.errors import UserError
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.training.failures_on_ray import EndWhereWorkersDie, fit_while_it_gets_on
from rcpt_ray.training.guard import TrainingStopped
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.process_group_on_ray import NodeAddressConfig
from rcpt_ray.training.refusal import refusal_of, refuse
from rcpt_ray.training.row_file import Follower
from rcpt_ray.training.stream.on_ray import data_of, feed_of
from rcpt_ray.training.stream.work import StreamWork
from rcpt_ray.training.waits import named_waits
from rcpt_ray.training.watch import HELDOUT, STEPS

_POLL_S = 0.5
_ASK_FOR_NOTICE_EVERY_S = 5.0
_HEALTH_CHECK_S = 600
_ASK_AGAIN_EVERY_S = 60


def train_on_ray(
    jobs: Sequence[TrainingJob], on_row: Callable[[dict[str, Any]], object], stream: StreamWork | None = None
) -> None:
    """Train each job to its end; `on_row` gets each row of their steps.jsonl and heldout.jsonl.

    Rows of an earlier attempt come too. With `stream` there is one job, and it is fed by that.

    Raises:
        UserError, TrainingStopped: what a worker ended with.
        ray.train.TrainingFailedError: more failures than `max_failures` with no further checkpoint.
    """
    spec = jobs[0].spec
    # Ray Train's own barriers have no limit, and a worker that does not answer is given ten minutes.
    os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] = str(spec.collective_timeout_s)
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(min(_HEALTH_CHECK_S, spec.collective_timeout_s))
    # Asking again renews the request for machines, which lapses after three minutes.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_ASK_AGAIN_EVERY_S))
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"jobs": list(jobs), "stream": stream},
        torch_config=NodeAddressConfig(
            backend="nccl" if spec.gpus_per_worker else "gloo", timeout_s=spec.collective_timeout_s
        ),
        scaling_config=ScalingConfig(
            num_workers=spec.num_workers,
            use_gpu=bool(spec.gpus_per_worker),
            resources_per_worker={"CPU": spec.cpus_per_worker, "GPU": spec.gpus_per_worker}
            | cluster.of_machines(spec.machines),
        ),
        run_config=RunConfig(
            name=f"pid-{os.getpid()}",
            storage_path=str(jobs[0].folder / "ray_train"),
            failure_config=FailureConfig(max_failures=spec.max_failures, max_preemption_failures=-1),
            callbacks=[EndWhereWorkersDie()],
        ),
        **data_of(stream),
    )
    ended = threading.Event()
    rows = Follower([job.folder / name for job in jobs for name in (HELDOUT, STEPS)])
    follower = threading.Thread(target=_follow, args=(rows, ended, on_row), daemon=True)
    follower.start()
    try:
        ended_with = fit_while_it_gets_on(lambda: trainer.fit().return_value, jobs)
    finally:
        ended.set()
        follower.join()
    if isinstance(ended_with, Exception):
        raise ended_with


def _worker(config: dict[str, Any]) -> Exception | None:
    jobs: list[TrainingJob] = config["jobs"]
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if jobs[0].spec.gpus_per_worker else "cpu")
    context = ray.train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    if not jobs[0].spec.gpus_per_worker:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves those of the machine to be seen
    rank, stream = context.get_world_rank(), config["stream"]
    # Before anything heavy: engines start while the workers do.
    feed = None if stream is None else feed_of(stream, rank)
    import torch

    torch.set_num_threads(jobs[0].spec.cpus_per_worker)
    nodes = _nodes_of_ranks(context.get_world_size())
    for job in jobs:
        refused = refusal_of(job)
        if refused is not None:
            return refused
        try:
            load_secrets()
            with named_waits(job.spec.collective_timeout_s):
                train(job, rank, feed, _machine_leaves(rank), nodes)
        except TrainingStopped as stopped:
            return stopped  # on every rank alike
        except UserError as mistake:
            # Perhaps of this rank alone: failing ends the others, and the next attempt finds the word that is left.
            refuse(job, mistake)
            raise
        gc.collect()
    return None


def _nodes_of_ranks(num_ranks: int) -> list[str]:
    """Ray's ids of the nodes that the ranks are on, in the order of the ranks; all of them call it."""
    import torch

    nodes = [""] * num_ranks
    torch.distributed.all_gather_object(nodes, ray.get_runtime_context().get_node_id())
    return nodes


def _machine_leaves(rank: int) -> Callable[[], bool]:
    """Whether a machine of the workers is about to be taken away, asked by all ranks after each step.

    Ray Train is asked every few seconds of rank 0's clock, because it answers through a barrier of the workers that
    takes longer than telling the others, by a collective of torch's, that it is time. From a notice on until the
    machine leaves, each time is a time for a checkpoint.
    """
    import torch

    asked_s = time.monotonic()
    due = torch.zeros(1, dtype=torch.int32, device="cuda" if torch.cuda.is_available() else "cpu")

    def leaves() -> bool:
        nonlocal asked_s
        due.fill_(rank == 0 and time.monotonic() - asked_s > _ASK_FOR_NOTICE_EVERY_S)
        torch.distributed.broadcast(due, src=0)
        if not due.item():
            return False
        asked_s = time.monotonic()
        return ray.train.get_preemption_info() is not None

    return leaves


def _follow(rows: Follower, ended: threading.Event, on_row: Callable[[dict[str, Any]], object]) -> None:
    """Pass on each new row until the event is set."""
    while True:
        last_look = ended.wait(_POLL_S)
        for row in rows.new_rows():
            on_row(row)
        if last_look:
            return
