"""The training plan: pure arithmetic from settings and the number of packed rows.

    rows of one step = micro_batch_rows x num_accumulations x num_workers = global_batch_rows
    steps            = ceil(rows x epochs / global_batch_rows)

The last batch is filled with empty rows (weight 0), so no row is lost, and fewer rows than a batch are one step. Which
rows a step reads follows from the step alone; a worker takes neighbours of them, so that it reads few pieces of files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rcpt_ray.errors import UserError
from rcpt_ray.training.order import rows_between
from rcpt_ray.training.spec import TrainingSpec

_BLOCK_ROWS = 512
_BLOCK_BATCHES = 4


@dataclass(frozen=True)
class TrainingPlan:
    """What is done in how many steps."""

    num_rows: int
    row_tokens: int
    num_epochs: int
    global_batch_rows: int
    micro_batch_rows: int
    num_workers: int
    num_accumulations: int
    num_steps: int
    num_warmup_steps: int
    num_decay_steps: int
    """Steps at the end in which the learning rate falls."""
    seed: int

    @property
    def block_rows(self) -> int:
        """Neighbours in the mixture whose order is drawn together: some batches, or many rows where these are few."""
        return max(_BLOCK_ROWS, _BLOCK_BATCHES * self.global_batch_rows)


def make_plan(spec: TrainingSpec, num_rows: int, row_tokens: int, seed: int) -> TrainingPlan:
    """The plan for `num_rows` packed rows.

    Raises:
        UserError: there is no row to train on.
    """
    if num_rows < 1:
        raise UserError(
            f"training: the mixture has {num_rows} packed rows of {row_tokens} tokens, and a training needs at least "
            "one; give more documents or a larger mixture.num_tokens"
        )
    num_steps = math.ceil(num_rows * spec.num_epochs / spec.global_batch_rows)
    num_warmup_steps = round(num_steps * spec.warmup_share)
    match spec.schedule:
        case "cosine":
            num_decay_steps = num_steps - num_warmup_steps
        case "wsd":  # both shares may be rounded up
            num_decay_steps = min(round(num_steps * spec.decay_share), num_steps - num_warmup_steps)
        case "constant":
            num_decay_steps = 0
    return TrainingPlan(
        num_rows=num_rows,
        row_tokens=row_tokens,
        num_epochs=spec.num_epochs,
        global_batch_rows=spec.global_batch_rows,
        micro_batch_rows=spec.micro_batch_rows,
        num_workers=spec.num_workers,
        num_accumulations=spec.global_batch_rows // (spec.micro_batch_rows * spec.num_workers),
        num_steps=num_steps,
        num_warmup_steps=num_warmup_steps,
        num_decay_steps=num_decay_steps,
        seed=seed,
    )


def rows_of_step(plan: TrainingPlan, step: int) -> list[int | None]:
    """Indices of the rows of a step (0-based), None for an empty row; the same for any number of workers."""
    place = step * plan.global_batch_rows
    stop = min(place + plan.global_batch_rows, plan.num_rows * plan.num_epochs)
    rows: list[int | None] = []
    while place < stop:
        epoch, first = divmod(place, plan.num_rows)
        last = min(plan.num_rows, first + stop - place)
        rows += rows_between(plan.seed, epoch, first, last, plan.num_rows, plan.block_rows).tolist()
        place += last - first
    return rows + [None] * (plan.global_batch_rows - len(rows))


def rows_of_rank(plan: TrainingPlan, step: int, rank: int) -> list[list[int | None]]:
    """The micro-batches of one rank in one step: its share of the step's rows in their order, empty ones last."""
    return share_of_rank(plan, sorted(rows_of_step(plan, step), key=lambda row: (row is None, row)), rank)


def share_of_rank(plan: TrainingPlan, rows: Sequence[int | None], rank: int) -> list[list[int | None]]:
    """The micro-batches of one rank, of a global batch's rows: the neighbours from its first one on."""
    size, num_own = plan.micro_batch_rows, plan.micro_batch_rows * plan.num_accumulations
    first = rank * num_own
    return [list(rows[start : start + size]) for start in range(first, first + num_own, size)]


def learning_rate(spec: TrainingSpec, plan: TrainingPlan, step: int) -> float:
    """Learning rate of a step (0-based); steps after the plan's last have that one's.

    Warmup and decay meet at the peak. The decay's end would be reached one step after the last, so that no step is
    spent at a rate of 0. Cosine: Loshchilov and Hutter, arXiv 1608.03983; wsd (warmup, stable, decay): Hu et al.,
    arXiv 2404.06395.
    """
    if step < plan.num_warmup_steps:
        return spec.learning_rate * (step + 1) / (plan.num_warmup_steps + 1)
    left = plan.num_steps - min(step, plan.num_steps - 1)
    if left >= plan.num_decay_steps:
        return spec.learning_rate
    share = left / plan.num_decay_steps
    if spec.schedule == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    floor = spec.final_learning_rate_share
    return spec.learning_rate * (floor + (1 - floor) * share)
