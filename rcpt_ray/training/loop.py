"""The DeepSpeed loop of one worker: from the newest whole checkpoint to the end of the feed, then the model.

What a step is stands in step.py, what it reads in feed.py, what a kill leaves in checkpoint.py, what is seen of it in
watch.py.
"""

import time
from collections.abc import Callable, Sequence
from itertools import count

from rcpt_ray.training.checkpoint import Checkpoints
from rcpt_ray.training.engine import start_engine
from rcpt_ray.training.feed import Feed, PackedFeed
from rcpt_ray.training.give_up import compare, give_up
from rcpt_ray.training.guard import Guard, stop
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_out import save_best, save_model
from rcpt_ray.training.precision import with_settled_precision
from rcpt_ray.training.saved import CHECKPOINTS
from rcpt_ray.training.step import run_step
from rcpt_ray.training.watch import HELDOUT, STEPS, Watch


def train(
    job: TrainingJob,
    rank: int,
    feed: Feed | None = None,
    machine_leaves: Callable[[], bool] | None = None,
    nodes: Sequence[str] = (),
) -> None:
    """Train to the end of the feed, the mixture's rows by index where none is given; all ranks call it.

    `machine_leaves` is asked by all ranks after each step, with one answer for all: whether to take a checkpoint now.
    `nodes` are those of all ranks, for attempts.jsonl.

    A job whose model is there is finished, and nothing is done. Rank 0 appends each step's row (records.STEP) to
    steps.jsonl and, at the end, the model is in `model/`.

    Raises:
        TrainingStopped: on every rank alike, where a step is beyond the bounds of training.guard.
        AttemptOver: another attempt at the training has begun meanwhile.
        TrainingGivenUp: on every rank alike, where held-out bits per byte fall behind training.guard.others.
    """
    if (job.folder / "model").exists():
        return
    import torch

    job = with_settled_precision(job, rank)
    torch.manual_seed(job.plan.seed)
    engine, optimizer = start_engine(job)
    torch.manual_seed(job.plan.seed + rank)  # ranks drop out different things
    feed = feed or PackedFeed(job.mixture_parts, job.plan, rank)
    rows = [job.folder / STEPS, job.folder / HELDOUT]
    checkpoints = Checkpoints(
        job.folder / CHECKPOINTS, engine, rank, job.spec, beside=rows, are_evaluated=job.beside is not None
    )
    steps_done = checkpoints.load()
    if rank == 0:
        checkpoints.attempt.record(job.folder, steps_done, nodes)
    watch = Watch(job, engine, rank, steps_done, checkpoints.attempt)
    skips_overflow = job.spec.precision == "fp16"
    guard = Guard(job.spec.guard, watch.losses, skips_overflow=skips_overflow)
    feed.start(steps_done)
    engine.train()
    watch.measure_if_due(steps_done, is_end=False)
    _end_if_behind(job, rank, watch, checkpoints, steps_done)
    for step in count(steps_done):
        asked_s = time.monotonic()
        batches = feed.batches(step)
        wait_s = time.monotonic() - asked_s
        if batches is None:
            break
        row = run_step(engine, optimizer, batches, job, step)
        reason = guard.reason_to_stop(row)
        if reason is not None:
            watch.close()
            checkpoints.close()
            raise stop(job.folder, row, reason, feed.doc_ids(step) if rank == 0 else [], rank)
        watch.step(row, batches, wait_s)
        steps_done = step + 1
        watch.measure_if_due(steps_done, is_end=False)
        _end_if_behind(job, rank, watch, checkpoints, steps_done)
        leaves = machine_leaves is not None and machine_leaves()
        if leaves or (steps_done % job.spec.checkpoint_every_steps == 0 and not feed.ends_with(step)):
            with watch.pause():
                checkpoints.save(steps_done, watch.score_of(steps_done))
    watch.measure_if_due(steps_done, is_end=True)
    compare(job, rank, watch.heldout, steps_done, has_ended=True)
    feed.close()
    watch.close()
    checkpoints.close()
    if rank == 0 and job.spec.keep_best_checkpoint:
        save_best(job, checkpoints.attempt, watch.score_of(steps_done))
    save_model(engine, job, rank, checkpoints.attempt)
    torch.distributed.barrier()


def _end_if_behind(job: TrainingJob, rank: int, watch: Watch, checkpoints: Checkpoints, steps_done: int) -> None:
    """TrainingGivenUp, with a checkpoint to go on from, where the training is behind the others of its sweep."""
    behind = compare(job, rank, watch.heldout, steps_done)
    if behind is None:
        return
    with watch.pause():
        checkpoints.save(steps_done, watch.score_of(steps_done))
    watch.close()
    checkpoints.close()
    ended = give_up(job, behind, steps_done, rank)
    import torch

    torch.distributed.barrier()  # no rank ends before the checkpoint is whole
    raise ended
