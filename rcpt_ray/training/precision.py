"""The number format of a training: chosen once, by its first attempt, and kept by all others.

`training.precision: auto` depends on the machine, and a training may go on where the hardware is another one: bf16
there and fp32 here would be two trainings in one. So rank 0 decides for all, and for it the newest checkpoint does, if
there is one. Price: a training that was begun in bf16 goes on in it where bf16 is emulated, which is slow; it can be
moved to a machine of the first kind at any time.
"""

from dataclasses import replace
from typing import Any

from rcpt_ray.hardware import fast_number_format
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.saved import CHECKPOINTS, whole_checkpoints


def with_settled_precision(job: TrainingJob, rank: int) -> TrainingJob:
    """The job with a number format in place of auto; all ranks call it."""
    import torch

    told: list[Any] = [None]
    if rank == 0:
        saved = whole_checkpoints(job.folder / CHECKPOINTS)
        told = [saved[-1].precision if saved else fast_number_format(job.spec.precision)]
    torch.distributed.broadcast_object_list(told, src=0)
    return replace(job, spec=job.spec.model_copy(update={"precision": told[0]}))
