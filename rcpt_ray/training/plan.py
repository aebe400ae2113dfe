"""The training plan: pure arithmetic from settings and the number of packed rows.

    rows of one step = micro_batch_rows x num_accumulations x num_workers = global_batch_rows
    steps            = ceil(rows x epochs / global_batch_rows)

The last batch is filled with empty rows (weight 0), so no row is lost. Rows are in a new order in each epoch, given
by the seed; which rows a step reads depends on the step alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcpt_ray.training.spec import TrainingSpec


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
    seed: int


def make_plan(spec: TrainingSpec, num_rows: int, row_tokens: int, seed: int) -> TrainingPlan:
    """The plan for `num_rows` packed rows."""
    num_steps = math.ceil(num_rows * spec.num_epochs / spec.global_batch_rows)
    return TrainingPlan(
        num_rows=num_rows,
        row_tokens=row_tokens,
        num_epochs=spec.num_epochs,
        global_batch_rows=spec.global_batch_rows,
        micro_batch_rows=spec.micro_batch_rows,
        num_workers=spec.num_workers,
        num_accumulations=spec.global_batch_rows // (spec.micro_batch_rows * spec.num_workers),
        num_steps=num_steps,
        num_warmup_steps=round(num_steps * spec.warmup_share),
        seed=seed,
    )


def rows_of_step(plan: TrainingPlan, step: int) -> list[int | None]:
    """Indices of the rows of a step (0-based), None for an empty row; the same for any number of workers."""
    first = step * plan.global_batch_rows
    positions = range(first, first + plan.global_batch_rows)
    orders: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}
    rows: list[int | None] = []
    for position in positions:
        epoch, place = divmod(position, plan.num_rows)
        if epoch >= plan.num_epochs:
            rows.append(None)
            continue
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([plan.seed, epoch]).permutation(plan.num_rows)
        rows.append(int(orders[epoch][place]))
    return rows


def rows_of_rank(plan: TrainingPlan, step: int, rank: int) -> list[list[int | None]]:
    """The micro-batches of one rank in one step: rank r takes every num_workers-th micro-batch."""
    return share_of_rank(plan, rows_of_step(plan, step), rank)


def share_of_rank(plan: TrainingPlan, rows: Sequence[int | None], rank: int) -> list[list[int | None]]:
    """One rank's micro-batches of a step with these rows."""
    size = plan.micro_batch_rows
    micro_batches = [list(rows[start : start + size]) for start in range(0, len(rows), size)]
    return micro_batches[rank :: plan.num_workers]


def learning_rate(spec: TrainingSpec, plan: TrainingPlan, step: int) -> float:
    """Learning rate of a step (0-based); steps after the plan's last have that one's."""
    if step < plan.num_warmup_steps:
        return spec.learning_rate * (step + 1) / (plan.num_warmup_steps + 1)
    floor, step = spec.final_learning_rate_share, min(step, plan.num_steps - 1)
    match spec.schedule:
        case "constant":
            share = 1.0
        case "wsd":
            # Warmup-stable-decay: Hu et al., arXiv 2404.06395.
            num_decay_steps = max(1, round(plan.num_steps * spec.decay_share))
            share = min(1.0, (plan.num_steps - step) / num_decay_steps)
        case "cosine":
            progress = (step - plan.num_warmup_steps) / max(1, plan.num_steps - plan.num_warmup_steps)
            share = (1 + math.cos(math.pi * progress)) / 2
    return spec.learning_rate * (share if spec.schedule == "constant" else floor + (1 - floor) * share)
