"""The training stages around the workers: jobs, the run, and what goes into the manifests.

Several trainings share one start of the workers; each leaves its model when it is done, so a command that goes on
after a kill trains only what is left.
"""

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import Counts, Manifest, Outcome, write_table
from rcpt_ray.evaluation.beside import Beside
from rcpt_ray.evaluation.beside_record import finish_record
from rcpt_ray.records import HELDOUT_BITS, STEP
from rcpt_ray.terminal import Bar
from rcpt_ray.training.attempt import ATTEMPTS
from rcpt_ray.training.guard import forget_stop
from rcpt_ray.training.heldout import bits_by_domain
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.progress import TrainingProgress
from rcpt_ray.training.refusal import forget_refusal
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.saved import CHECKPOINTS
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.trackers import begin_runs
from rcpt_ray.training.watch import HELDOUT, PEAK, STEPS


def training_job(
    spec: TrainingSpec,
    seed: int,
    mixture: Manifest,
    mixture_folder: Path,
    model_path: Path,
    folder: Path,
    heldout_parts: Sequence[Path],
    provenance: Mapping[str, Any],
    beside: Beside | None = None,
    trust_remote_code: bool = False,
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
        beside=beside,
        trust_remote_code=trust_remote_code,
    )


def make_trainings(jobs: Sequence[TrainingJob], bar: Bar) -> list[Outcome]:
    """Train every job, begun before, to its end; each folder then holds model/, steps.parquet and nothing temporary.

    Raises:
        TrainingStopped: the guard stopped one of them; those before it have left their models, the others not begun.
    """
    from rcpt_ray.evaluation.beside_on_ray import evaluating
    from rcpt_ray.training.on_ray import train_on_ray

    progress = TrainingProgress(bar, sum(job.plan.num_steps for job in jobs))
    with evaluating(jobs, bar):
        train_on_ray(jobs, progress.show)
    return [outcome_of(job) for job in jobs]


def finish_trainings(jobs: Sequence[TrainingJob], bar: Bar) -> list[Outcome]:
    """The outcomes of trainings that have left their models, once what they left to be evaluated is."""
    from rcpt_ray.evaluation.beside_on_ray import evaluating

    with evaluating(jobs, bar):
        pass
    return [outcome_of(job) for job in jobs]


def begin(job: TrainingJob) -> None:
    """What precedes a command's attempts at a training.

    Raises:
        UserError: a tracker that is asked for cannot be used.
    """
    forget_stop(job.folder)
    forget_refusal(job)
    begin_runs(job)


def outcome_of(job: TrainingJob) -> Outcome:
    """What a finished training is recorded as; what only the training needed is removed."""
    plan = job.plan
    rows, figures = finish_steps(job, plan.num_steps)
    num_rows = plan.num_rows * plan.num_epochs
    return Outcome(
        counts=Counts(unit="packed row read", num_in=num_rows, num_ok=num_rows),
        tokens={"trained": job.num_tokens, "targets": sum(row["num_tokens"] for row in rows)},
        details=figures | {"num_epochs": plan.num_epochs},
        throughput=throughput_of(rows),
        cost=cost_of(job.spec, figures),
    )


def cost_of(spec: TrainingSpec, figures: Mapping[str, Any]) -> float | None:
    """What the workers' hours cost, None where no price is given."""
    price = spec.price_per_worker_hour
    return None if price is None else price * float(figures["worker_hours"])


def finish_steps(job: TrainingJob, num_steps: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of all steps, written to steps.parquet, and their figures; what only the training needed is removed."""
    folder = job.folder
    rows, heldout = read_rows(folder / STEPS), read_rows(folder / HELDOUT)
    attempts = read_rows(folder / ATTEMPTS)
    peak = json.loads((folder / PEAK).read_text(encoding="utf-8"))
    assert len(rows) == num_steps, f"{len(rows)} steps were recorded but {num_steps} planned"
    write_table(folder / "steps.parquet", pa.Table.from_pylist(rows, schema=STEP))
    if heldout:
        write_table(folder / "heldout.parquet", pa.Table.from_pylist(heldout, schema=HELDOUT_BITS))
    beside = finish_record(job)
    for leftover in (CHECKPOINTS, "ray_train"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    worked_s = sum(row["seconds"] + row["wait_seconds"] + row["pause_seconds"] for row in rows)
    worker_hours = job.plan.num_workers * worked_s / 3600  # of all commands that had a part in it, without their starts
    return rows, {
        "num_steps": num_steps,
        "num_workers": job.plan.num_workers,
        "num_attempts": len(attempts),
        "num_nodes": len({node for attempt in attempts[-1:] for node in attempt["nodes"]}),
        "worker_hours": worker_hours,
        "gpu_hours": worker_hours * job.spec.gpus_per_worker,
        "precision": peak.pop("precision"),
        "first_loss": rows[0]["loss"],
        "final_loss": rows[-1]["loss"],
        "heldout_bits_per_byte": bits_by_domain(heldout),
        "mfu": statistics.median(row["mfu"] for row in rows),
        "peak": peak,
        "memory_bytes": max(row["memory_bytes"] for row in rows),
        "overhead_share": sum(row["overhead_seconds"] for row in rows) / sum(row["seconds"] for row in rows),
        "wait_seconds": sum(row["wait_seconds"] for row in rows),
        "pause_seconds": sum(row["pause_seconds"] for row in rows),
        **beside,
    }


def throughput_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Targets a second of time in steps, without waiting for rows."""
    return {"tokens_per_s": sum(row["num_tokens"] for row in rows) / sum(row["seconds"] for row in rows)}
