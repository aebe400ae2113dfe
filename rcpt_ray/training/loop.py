"""The DeepSpeed loop of one worker: from the newest whole checkpoint to the end of the feed, then the model.

What a step is stands in step.py, what it reads in feed.py, what a kill leaves in checkpoint.py, what is seen of it in
watch.py.
"""

from itertools import count

from rcpt_ray.training.checkpoint import load_checkpoint, save_checkpoint
from rcpt_ray.training.engine import start_engine
from rcpt_ray.training.feed import Feed, PackedFeed
from rcpt_ray.training.guard import Guard
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.model_out import save_model
from rcpt_ray.training.step import run_step
from rcpt_ray.training.watch import Watch


def train(job: TrainingJob, rank: int, feed: Feed | None = None) -> None:
    """Train to the end of the feed, the mixture's rows by index where none is given; all ranks call it.

    A job whose model is there is finished, and nothing is done. Rank 0 appends each step's row (records.STEP) to
    steps.jsonl and, at the end, the model is in `model/`.
    """
    if (job.folder / "model").exists():
        return
    import torch

    torch.manual_seed(job.plan.seed)
    engine, optimizer, tokenizer = start_engine(job)
    feed = feed or PackedFeed(job.mixture_parts, job.plan, rank)
    checkpoints, frozen = job.folder / "checkpoints", job.spec.adapter is not None
    steps_done = load_checkpoint(engine, checkpoints, frozen_weights=frozen)
    watch, guard = Watch(job, rank, steps_done), Guard(job.spec.guard)
    feed.start(steps_done)
    engine.train()
    for step in count(steps_done):
        batches = feed.batches(step)
        if batches is None:
            break
        row = run_step(engine, optimizer, batches, job, step)
        guard.check(row, feed.doc_ids(step))
        watch.step(row)
        if (step + 1) % job.spec.checkpoint_every_steps == 0 and not feed.ends_with(step):
            save_checkpoint(engine, checkpoints, step + 1, rank, frozen_weights=frozen)
    feed.close()
    watch.close()
    save_model(engine, tokenizer, job, rank)
    torch.distributed.barrier()
