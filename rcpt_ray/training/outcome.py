"""The training stage around the workers: plan, run, and what goes into the manifest."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import Counts, Manifest, Outcome, write_table
from rcpt_ray.records import STEP
from rcpt_ray.terminal import Bar
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec


def make_training(
    spec: TrainingSpec, seed: int, mixture: Manifest, parts: list[Path], model_path: str, folder: Path, bar: Bar
) -> Outcome:
    """Train on a finished mixture; the folder then holds model/, steps.parquet and nothing temporary."""
    from rcpt_ray.training.loop import TrainingJob
    from rcpt_ray.training.on_ray import train_on_ray

    plan = make_plan(spec, int(mixture.details["num_rows"]), int(mixture.details["row_tokens"]), seed)
    bar.total(plan.num_steps)
    job = TrainingJob(spec=spec, plan=plan, model_path=model_path, mixture_parts=parts, folder=folder)

    def on_step(row: dict[str, Any]) -> None:
        bar.advance()
        bar.note(f"loss {row['loss']:.3f}, {row['num_tokens'] / row['seconds']:,.0f} tokens/s")

    train_on_ray(job, on_step)
    rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == plan.num_steps, f"{len(rows)} steps were recorded but {plan.num_steps} planned"
    write_table(folder / "steps.parquet", pa.Table.from_pylist(rows, schema=STEP))
    for leftover in ("checkpoints", "ray_train"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    num_rows = plan.num_rows * plan.num_epochs
    num_targets = sum(row["num_tokens"] for row in rows)
    return Outcome(
        counts=Counts(unit="packed row read", num_in=num_rows, num_ok=num_rows),
        tokens={"trained": mixture.tokens["all"] * plan.num_epochs, "targets": num_targets},
        details={
            "num_steps": plan.num_steps,
            "num_epochs": plan.num_epochs,
            "num_workers": plan.num_workers,
            "first_loss": rows[0]["loss"],
            "final_loss": rows[-1]["loss"],
        },
        throughput={"tokens_per_s": num_targets / sum(row["seconds"] for row in rows)},
    )
