"""The training plan: pure arithmetic from settings and the number of packed rows.

    rows of one step = micro_batch_rows x num_accumulations x num_workers = global_batch_rows
    steps            = ceil(rows x epochs / global_batch_rows)

The last batch is filled with empty rows (weight 0), so no row is lost. Rows are in a new order in each epoch, given
by the seed; which rows a step reads depends on the step alone.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rcpt_ray.training.spec import TrainingSpec

_COSINE_FLOOR = 0.1


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
    rows = rows_of_step(plan, step)
    size = plan.micro_batch_rows
    micro_batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    return micro_batches[rank :: plan.num_workers]


def learning_rate(spec: TrainingSpec, plan: TrainingPlan, step: int) -> float:
    """Learning rate of a step (0-based): linear warmup, then constant or cosine to a tenth of the peak."""
    if step < plan.num_warmup_steps:
        return spec.learning_rate * (step + 1) / (plan.num_warmup_steps + 1)
    if spec.schedule == "constant":
        return spec.learning_rate
    progress = (step - plan.num_warmup_steps) / max(1, plan.num_steps - plan.num_warmup_steps)
    return spec.learning_rate * (_COSINE_FLOOR + (1 - _COSINE_FLOOR) * (1 + math.cos(math.pi * progress)) / 2)


def deepspeed_config(spec: TrainingSpec, plan: TrainingPlan, precision: str) -> dict[str, Any]:
    """The dictionary that DeepSpeed is started with."""
    return {
        "train_batch_size": plan.global_batch_rows,
        "train_micro_batch_size_per_gpu": plan.micro_batch_rows,
        "gradient_accumulation_steps": plan.num_accumulations,
        "gradient_clipping": spec.max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": spec.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
