"""Giving a training up beside the others of its sweep, by all ranks alike. The rule stands in others.py.

Rank 0 alone reads and writes curves, so that the ranks never come to different verdicts. A curve is made of the rows in
heldout.jsonl, so a training that goes on after a kill has the whole of it. A training that is given up has a checkpoint
of its last step; without `training.guard.others` it goes on from there as if nothing had been.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.guard import STOPPED, TrainingGivenUp
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.others import Behind, curve_of, find_behind, read_others, write_curve
from rcpt_ray.training.row_file import Row


def compare(
    job: TrainingJob, rank: int, heldout: Sequence[Row], steps_done: int, *, has_ended: bool = False
) -> Behind | None:
    """Show the others what was measured after `steps_done`, and find whether this training is behind.

    All ranks call it. None, too, where it has no others, nothing was measured now, or it `has_ended`.
    """
    others = job.spec.guard.others
    if others is None or not heldout or heldout[-1]["step"] != steps_done:
        return None
    import torch

    told: list[Behind | None] = [None]
    if rank == 0:
        own = curve_of(heldout, job.plan.num_steps)
        behind = None if has_ended else find_behind(own, read_others(others), others)
        write_curve(others, replace(own, has_ended=has_ended or behind is not None))
        told = [behind]
    torch.distributed.broadcast_object_list(told, src=0)
    return told[0]


def give_up(job: TrainingJob, behind: Behind, steps_done: int, rank: int) -> TrainingGivenUp:
    """What every rank is to raise; rank 0 leaves stopped.json."""
    sentence = (
        f"training given up after {steps_done:,} of {job.plan.num_steps:,} steps: its fewest held-out bits per byte "
        f"are {behind.bits:.4f}, above {behind.median:.4f}, the median of {behind.num_others} other trainings of its "
        f"sweep at {behind.share:.0%} of their steps; without training.guard.others it goes on from its checkpoint"
    )
    if rank == 0:
        known = {"sentence": sentence, "step": steps_done, "given_up": asdict(behind)}
        write_atomic(job.folder / STOPPED, json.dumps(known, indent=1))
    return TrainingGivenUp(sentence)
