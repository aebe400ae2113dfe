"""The part of `rcpt plan` about trainings: batch, steps, schedule, memory of a worker, time, DeepSpeed's settings.

A column a training; trainings that differ in nothing share one. Arithmetic: neither torch nor Ray is imported, so the
number format of a GPU that is not here is taken to be bf16, and the memory of GPUs is asked of nvidia-smi alone.
"""

import json
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table

from rcpt_ray.hardware import cpu_flags
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.terminal import duration
from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.memory import GIB, MemoryNeed, memory_need, num_trained
from rcpt_ray.training.model_shape import ModelShape, read_model_shape
from rcpt_ray.training.plan import TrainingPlan, learning_rate, make_plan
from rcpt_ray.training.spec import TrainingSpec

_PADDING = 0.03
"""Share of the rows' tokens that is taken to be padding before they are packed."""
_GPU_GIB = (16, 24, 32, 40, 48, 80, 96, 141, 180)
"""Memory of common cards."""


@dataclass(frozen=True)
class TrainingToDo:
    """What is known of a training before it is run."""

    variant: str
    settings: ArmSettings
    num_tokens: float
    """Of one epoch."""
    num_rows: int | None
    """None before the mixture is packed."""
    seconds: float | None
    source: str
    """Where the seconds come from."""
    num_alike: int = 1
    """Trainings of the arm that are to be done, of which this is the largest."""

    def standing_for(self, num_alike: int) -> "TrainingToDo":
        """The same as the largest of so many."""
        return replace(self, num_alike=num_alike)

    @property
    def title(self) -> str:
        """The variant's name, and whether it stands for others."""
        return self.variant if self.num_alike == 1 else f"{self.variant}, the largest of {self.num_alike}"


def print_trainings(
    trainings: Sequence[TrainingToDo], recipe: Recipe, student: ResolvedModel | None, console: Console
) -> None:
    """Print a table of trainings, what to beware of, and what DeepSpeed is told.

    Raises:
        UserError: one of them has nothing to train on.
    """
    model = read_model_shape(Path(student.path)) if student and student.path else None
    columns: dict[tuple[str, ...], list[str]] = {}
    told: dict[str, list[str]] = {}
    warnings: dict[str, None] = {}
    labels: list[str] = []
    for training in trainings:
        arm = training.settings
        row_tokens = arm.mixture.row_tokens
        num_rows = training.num_rows or math.ceil(training.num_tokens * (1 + _PADDING) / row_tokens)
        num_rows = _num_set_steps(arm.training) * arm.training.global_batch_rows or num_rows
        plan = make_plan(arm.training, num_rows, row_tokens, recipe.seed)
        precision = planned_precision(arm.training)
        deepspeed = deepspeed_config(arm.training, plan, precision)
        need = memory_need(model, arm.training, plan, precision, deepspeed) if model else None
        lines = _lines(training, arm.training, plan, precision, model, need)
        labels = list(lines)
        columns.setdefault(tuple(lines.values()), []).append(training.title)
        told.setdefault(json.dumps(deepspeed), []).append(training.title)
        warnings |= dict.fromkeys(_warnings(arm.training, plan, model, need, recipe.cluster.address == "local"))
    table = Table("training", *(", ".join(arms) for arms in columns.values()), title="trainings")
    for label, values in zip(labels, zip(*columns, strict=True), strict=True):
        table.add_row(label, *values)
    console.print(table)
    for warning in warnings:
        console.print(f"beware: {warning}", highlight=False, markup=False, soft_wrap=True)
    for config, arms in told.items():
        of = "" if len(told) == 1 else f" for {', '.join(arms)}"
        console.print(f"DeepSpeed{of}: {config}", highlight=False, markup=False, soft_wrap=True)


def planned_precision(spec: TrainingSpec) -> Literal["bf16", "fp16", "fp32"]:
    """The number format as hardware.fast_number_format would choose it, without torch."""
    if spec.precision != "auto":
        return spec.precision
    return "bf16" if spec.gpus_per_worker or cpu_flags() & {"avx512_bf16", "amx_bf16"} else "fp32"


def _lines(
    training: TrainingToDo,
    spec: TrainingSpec,
    plan: TrainingPlan,
    precision: str,
    model: ModelShape | None,
    need: MemoryNeed | None,
) -> dict[str, str]:
    about = "" if training.num_rows is not None else "about "
    epochs = f" x {plan.num_epochs} epochs" if plan.num_epochs > 1 else ""
    phases = [f"{plan.num_warmup_steps:,} of warmup"] if plan.num_warmup_steps else []
    phases += [f"{plan.num_decay_steps:,} of decay"] if plan.num_decay_steps else []
    last = learning_rate(spec, plan, plan.num_steps - 1)
    adapter = f"adapters of rank {spec.adapter.rank}" if spec.adapter else "all parameters"
    of = f", {_millions(num_trained(model, spec))} of {_millions(model.num_parameters)}" if model else ""
    how = [precision, f"ZeRO {spec.zero_stage}"]
    how += ["optimizer offloaded"] * spec.offload_optimizer + ["gradient checkpointing"] * spec.gradient_checkpointing
    devices = f"{plan.num_workers * (spec.gpus_per_worker or spec.cpus_per_worker)} {_kind(spec)}s"
    time = "not known" if training.seconds is None else f"about {duration(training.seconds)} on {devices}"
    return {
        "rows": f"{about}{plan.num_rows:,} of {plan.row_tokens:,} tokens{epochs}",
        "tokens read": f"{about}{training.num_tokens * plan.num_epochs:,.0f}",
        "global batch": f"{plan.global_batch_rows:,} rows, {plan.global_batch_rows * plan.row_tokens:,} tokens",
        "  workers x micro-batch x accumulations": f"{plan.num_workers} x {plan.micro_batch_rows} x "
        f"{plan.num_accumulations}",
        "steps": ", ".join([f"{'' if _num_set_steps(spec) else about}{plan.num_steps:,}", *phases]),
        "learning rate": f"{spec.schedule}, {spec.learning_rate:g} to {last:.2g}",
        "precision": ", ".join(how),
        "trained": adapter + of,
        "time": f"{time} ({training.source})" if training.source else time,
    } | (_memory_lines(need) if need else {})


def _num_set_steps(spec: TrainingSpec) -> int:
    """Steps that a streaming training's schedule is set to, 0 where they are reckoned."""
    return (spec.stream.num_steps or 0) if spec.feed == "stream" else 0


def _memory_lines(need: MemoryNeed) -> dict[str, str]:
    host = f", and {_gib(need.host)} of the host's" if need.host else ""
    return {
        "memory of a worker at most": f"{_gib(need.total)}{host}",
        "  parameters + gradients": f"{_gib(need.parameters)} + {_gib(need.gradients)}",
        "  optimizer + programs": f"{_gib(need.optimizer)} + {_gib(need.runtime)}",
        "  activations + buffers": f"{_gib(need.activations)} + {_gib(need.buffers)}",
        "  or the optimizer's step": f"{_gib(need.step)}",
    }


def _warnings(
    spec: TrainingSpec, plan: TrainingPlan, model: ModelShape | None, need: MemoryNeed | None, is_local: bool
) -> list[str]:
    found = []
    if plan.num_rows * plan.num_epochs < plan.global_batch_rows:
        found.append(
            f"{plan.num_rows * plan.num_epochs:,} rows are fewer than training.global_batch_rows="
            f"{plan.global_batch_rows}, so there is one step, partly of empty rows"
        )
    if model and model.context_tokens and plan.row_tokens > model.context_tokens:
        found.append(
            f"mixture.row_tokens={plan.row_tokens:,} is longer than the student's context of "
            f"{model.context_tokens:,} tokens, which documents of a row's length would exceed"
        )
    if need is None:
        return found
    if model and model.layer is None:
        found.append("the student's config.json does not tell the sizes of its layers, so activations are not counted")
    if spec.zero_stage == 3:
        found.append(
            f"training.zero_stage=3 partitions a model that each worker has loaded whole: when they start on one "
            f"machine, {plan.num_workers} workers take {_gib(plan.num_workers * need.loaded)} of the host's memory"
        )
    if spec.gpus_per_worker:
        card = _gpu_memory_gib() if is_local else None
        if card is not None and need.total > card * GIB:
            found.append(f"a worker needs {_gib(need.total)} but the GPU here has {card:.0f} GiB; {_WAYS_OUT}")
        elif card is None:
            fitting = next((size for size in _GPU_GIB if need.total < 0.95 * size * GIB), None)
            found.append(
                f"a worker needs a GPU of {fitting} GB or more"
                if fitting
                else f"a worker needs {_gib(need.total)}, more than a GPU has; {_WAYS_OUT}"
            )
    elif is_local and plan.num_workers * need.total > psutil.virtual_memory().total:
        found.append(
            f"{plan.num_workers} workers need {_gib(plan.num_workers * need.total)} but this machine has "
            f"{_gib(psutil.virtual_memory().total)}; {_WAYS_OUT}"
        )
    return found


_WAYS_OUT = (
    "lower training.micro_batch_rows, or set training.gradient_checkpointing=true, training.adapter or a higher "
    "training.zero_stage"
)


def _gpu_memory_gib() -> float | None:
    """Memory of the smallest GPU of this machine, None where there is none or the driver does not tell."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False).stdout.split()
    sizes = [int(size) for size in told if size.isdecimal()]
    return min(sizes) / 1024 if sizes else None


def _kind(spec: TrainingSpec) -> str:
    return "GPU" if spec.gpus_per_worker else "CPU"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f}M"


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB"
