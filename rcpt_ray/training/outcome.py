"""The training stages around the workers: jobs, the run, and what goes into the manifests.

Several trainings share one start of the workers; each leaves its model when it is done, so a command that goes on
after a kill trains only what is left.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import Counts, Manifest, Outcome, write_table
from rcpt_ray.records import STEP
from rcpt_ray.terminal import Bar
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec


def training_job(
    spec: TrainingSpec,
    seed: int,
    mixture: Manifest,
    mixture_folder: Path,
    model_path: Path,
    folder: Path,
    heldout_parts: Sequence[Path],
    provenance: Mapping[str, Any],
) -> TrainingJob:
    """The job of training on a finished mixture."""
    plan = make_plan(spec, int(mixture.details["num_rows"]), int(mixture.details["row_tokens"]), seed)
    num_tokens = mixture.tokens["all"] * plan.num_epochs
    special_tokens = tuple(mixture.details["special_tokens"])
    tokenizer_path = mixture_folder / "tokenizer" if special_tokens else model_path
    parts = sorted(mixture_folder.glob("part-*.parquet"))
    return TrainingJob(
        spec=spec,
        plan=plan,
        num_tokens=num_tokens,
        model_path=str(model_path),
        mixture_parts=parts,
        folder=folder,
        tokenizer_path=str(tokenizer_path),
        special_tokens=special_tokens,
        heldout_parts=list(heldout_parts),
        provenance=provenance,
    )


def make_trainings(jobs: Sequence[TrainingJob], bar: Bar) -> list[Outcome]:
    """Train every job to its end; each folder then holds model/, steps.parquet and nothing temporary."""
    from rcpt_ray.training.on_ray import train_on_ray

    bar.total(sum(job.plan.num_steps for job in jobs))

    def on_step(row: dict[str, Any]) -> None:
        bar.advance()
        bar.note(f"loss {row['loss']:.3f}, {row['num_tokens'] / row['seconds']:,.0f} tokens/s")

    train_on_ray(jobs, on_step)
    return [_outcome(job) for job in jobs]


def _outcome(job: TrainingJob) -> Outcome:
    plan = job.plan
    rows, figures = finish_steps(job, plan.num_steps)
    num_rows = plan.num_rows * plan.num_epochs
    return Outcome(
        counts=Counts(unit="packed row read", num_in=num_rows, num_ok=num_rows),
        tokens={"trained": job.num_tokens, "targets": sum(row["num_tokens"] for row in rows)},
        details=figures | {"num_epochs": plan.num_epochs},
        throughput=throughput_of(rows),
    )


def finish_steps(job: TrainingJob, num_steps: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of all steps, written to steps.parquet, and their figures; what only the training needed is removed."""
    folder = job.folder
    rows = steps_of(job)
    assert len(rows) == num_steps, f"{len(rows)} steps were recorded but {num_steps} planned"
    write_table(folder / "steps.parquet", pa.Table.from_pylist(rows, schema=STEP))
    for leftover in ("checkpoints", "ray_train"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    return rows, {
        "num_steps": num_steps,
        "num_workers": job.plan.num_workers,
        "first_loss": rows[0]["loss"],
        "final_loss": rows[-1]["loss"],
    }


def steps_of(job: TrainingJob) -> list[dict[str, Any]]:
    """The rows of the steps so far; a last line that a kill cut off is none."""
    file = job.folder / "steps.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def throughput_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Targets a second of time in steps."""
    return {"tokens_per_s": sum(row["num_tokens"] for row in rows) / sum(row["seconds"] for row in rows)}
