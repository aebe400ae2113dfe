"""Evaluation beside training: what a checkpoint is measured on, and the rows that come of it.

    checkpoint -> a Hugging Face folder on the node's own disk -> scores.parquet -> rows of records.EVALUATED

Questions that are answered by likelihood and held-out bits per byte, by transformers: what a checkpoint costs little
for. The figures are those of the evaluation stage on the same model; their mean and standard error are kept, not the
items. Price: the model once more in its base's number format on the disk and in memory; a start of lm-eval a worker.
"""

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import canonical_json
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import close_models
from rcpt_ray.evaluation.run import evaluate
from rcpt_ray.evaluation.spec import STAGE_VERSION, EvaluationSpec

if TYPE_CHECKING:
    from rcpt_ray.training.job import TrainingJob
    from rcpt_ray.training.saved import Saved

Row = dict[str, Any]
ALL = "all"
"""The group of every item."""


@dataclass(frozen=True)
class Beside:
    """How the checkpoints of a training are evaluated; can be sent to other processes."""

    job: EvaluationJob
    """Its model and folder are each checkpoint's own."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the questions and of the held-out documents, by name."""
    autoscales: bool = False
    """Whether machines come when they are asked for."""

    @property
    def key(self) -> str:
        """16 hex digits over what defines the figures; rows of another definition are measured again."""
        what = [STAGE_VERSION, self.job.spec.defining(), self.job.seed, dict(self.digests)]
        return hashlib.sha256(canonical_json(what).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Point:
    """A moment of a training whose model can be evaluated."""

    step: int
    """Steps done."""
    saved: "Saved | None" = None
    """Its checkpoint; None where the model is the student as it came, or the finished one."""


def beside_spec(spec: EvaluationSpec) -> EvaluationSpec:
    """The part of an evaluation that checkpoints are measured on."""
    tasks = {name: task for name, task in spec.tasks.items() if task.kind == "likelihood"}
    return spec.model_copy(
        update={
            "tasks": tasks,
            "heldout_thoughts": False,
            "likelihood_engine": "transformers",
            "beside_training": False,
        }
    )


def evaluate_point(training: "TrainingJob", point: Point) -> list[Row]:
    """The rows (records.EVALUATED) of a training's model at a point; nothing stays on the disk.

    Raises:
        ValueError: a score is no number.
    """
    beside, started = training.beside, time.monotonic()
    assert beside is not None
    # Named after the point, so that what a killed evaluation left here goes with the next attempt at it.
    name = hashlib.sha256(f"{training.folder} {point.step}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"rcpt-evaluated-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        scores = folder / "scores"
        scores.mkdir(parents=True)
        model = _model_of(training, point, folder / "model")
        evaluate(replace(beside.job, model_path=str(model), folder=scores))
        rows = pq.read_table(scores / "scores.parquet")
    finally:
        close_models()
        shutil.rmtree(folder, ignore_errors=True)
    return summarize(rows, point.step, time.monotonic() - started)


def summarize(scores: pa.Table, step: int, seconds: float) -> list[Row]:
    """Rows of records.SCORE as means by task, metric and group: all items, then each domain, in their order.

    The standard error of a mean with weights w is sqrt(N / (N - 1) sum(w^2 (v - m)^2)) / sum(w), that of a ratio
    (Cochran, Sampling Techniques, 1977, section 2.11); with equal weights it is that of a plain mean.

    Raises:
        ValueError: a mean is no number.
    """
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in scores.to_pylist():
        for group in dict.fromkeys((ALL, row["domain"] or ALL)):
            groups.setdefault((row["task"], row["metric"], group), []).append((row["value"], row["weight"]))
    found = []
    for (task, metric, group), items in groups.items():
        values_N, weights_N = np.array(items, np.float64).T
        mean = float((values_N * weights_N).sum() / weights_N.sum())
        if not math.isfinite(mean):
            raise ValueError(f"the {metric} of {task} is {mean}")
        spread = float((weights_N**2 * (values_N - mean) ** 2).sum())
        number = len(items)
        error = math.sqrt(number / (number - 1) * spread) / float(weights_N.sum()) if number > 1 else None
        found.append(
            {
                "step": step,
                "task": task,
                "metric": metric,
                "group": group,
                "value": mean,
                "standard_error": error,
                "num_items": number,
                "seconds": seconds,
            }
        )
    return found


def _model_of(training: "TrainingJob", point: Point, folder: Path) -> Path:
    from rcpt_ray.training.model_out import save_checkpoint_model

    if point.saved is None and point.step > 0:
        return training.folder / "model"
    if point.saved is None and not training.special_tokens:
        return Path(training.model_path)
    save_checkpoint_model(training, point.saved, folder)
    return folder
