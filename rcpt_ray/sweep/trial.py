"""One trial: the stages of its recipe that are not there yet, then what the evaluation says.

Stages stand in the sweep's run folder by fingerprint, so what another trial or command has made is found; one that is
in the making is waited for. The trial's words go to its own log.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.errors import UserError, reason_of, user_error_behind
from rcpt_ray.finishing import finish_all
from rcpt_ray.pipeline import build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Builder, Built, Stage, StageError, look_up
from rcpt_ray.sweep.measures import measures_of, objectives_of
from rcpt_ray.sweep.result import StageUse, Trial, TrialResult
from rcpt_ray.sweep.trial_recipe import recipe_at
from rcpt_ray.terminal import Screen, Terminal
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.training.guard import TrainingGivenUp
from rcpt_ray.training.outcome import cost_of
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.watch import STEPS


def run_trial(recipe: Recipe, trial: Trial, run: Path, folder: Path, on_stage: Callable[[str], object]) -> TrialResult:
    """Run a trial of a sweep to its end, whatever that is; `on_stage` hears of each stage before it is made.

    `folder` is that of the sweep's trials. A mistake in its settings refuses the trial, a training that fell behind
    stops it, anything else fails it.
    """
    uses: dict[str, StageUse] = {}
    found: dict[str, Any] = {}
    took = {"made": 0.0, "waited": 0.0}
    with (folder / "logs" / f"{trial.name}.log").open("a", encoding="utf-8") as file:
        terminal = Terminal(Screen(file=file, width=200))

        def build(stages: Sequence[Stage]) -> list[Built | StageError]:
            are_there = all(look_up(stage, run).manifest is not None for stage in stages)
            if stages and not are_there:
                on_stage(stages[0].title)
            began_s = time.monotonic()
            ended = finish_all(stages, run, terminal, waits=True)
            built = [one for one in ended if isinstance(one, Built) and one.manifest is not None]
            if not are_there:
                is_waiting = len(built) == len(ended) and not any(one.made_now for one in built)
                took["waited" if is_waiting else "made"] += time.monotonic() - began_s
            for one in built:
                uses[_label(one, uses)] = _use(one, _is_made_by(trial, one, folder))
            return ended

        try:
            found = _measured(recipe, recipe_at(recipe, trial, folder / "curves"), build)
        except Exception as error:
            cause = error.error if isinstance(error, StageError) else error
            found = {"status": _status(cause), "reason": reason_of(cause)}
            if isinstance(error, StageError):
                found["reason"] = str(error)
                if error.stage.name == "training" and error.stage.fingerprint is not None:
                    uses["training"] = _unfinished(recipe_at(recipe, trial), error.stage.fingerprint, run)
            traceback.print_exception(error, file=file)
    return TrialResult(trial=trial, stages=uses, made_seconds=took["made"], waited_seconds=took["waited"], **found)


def _measured(recipe: Recipe, own: Recipe, build: Callable[[Sequence[Stage]], list[Built | StageError]]) -> Any:
    assert recipe.sweep is not None
    done = build_pipeline(own, Builder(build), "evaluation")
    if done.failures:
        raise next(iter(done.failures.values()))
    (arm,) = done.arms.values()
    assert arm.evaluation is not None
    mixture = arm.mixture or arm.training
    measures = measures_of(pq.read_table(arm.evaluation.path / "scores.parquet"))
    return {
        "status": "ok",
        "measures": measures,
        "objectives": objectives_of(recipe.sweep, measures),
        "num_tokens": mixture.record.tokens.get("all") if mixture is not None else None,
    }


def _status(cause: Exception) -> str:
    if isinstance(cause, TrainingGivenUp):
        return "stopped"
    return "refused" if isinstance(cause, UserError) or user_error_behind(cause) is not None else "failed"


def _label(built: Built, uses: dict[str, StageUse]) -> str:
    """The stage's name; held-out thoughts are a second stage of that name."""
    name, number = built.stage.name, 1
    label = name
    while label in uses and uses[label].fingerprint != built.stage.fingerprint:
        number += 1
        label = f"{name} {number}"
    return label


def _unfinished(own: Recipe, fingerprint: str, run: Path) -> StageUse:
    """What the recorded steps of a training that did not end well took."""
    (variant,) = own.variants.values()
    spec = own.variant_settings(variant).training
    seconds = sum(row["seconds"] + row["wait_seconds"] for row in read_rows(run / "training" / fingerprint / STEPS))
    worker_hours = spec.num_workers * seconds / 3600
    return StageUse(
        fingerprint=fingerprint,
        seconds=seconds,
        gpu_hours=worker_hours * spec.gpus_per_worker,
        cost=cost_of(spec, {"worker_hours": worker_hours}),
        made_here=True,
        is_finished=False,
    )


def _is_made_by(trial: Trial, built: Built, folder: Path) -> bool:
    """Whether this trial made a stage, now or before it was killed: whoever makes one leaves a note."""
    note = folder / "made" / f"{built.record.stage}-{built.record.fingerprint}.txt"
    if built.made_now:
        write_atomic(note, trial.name)
        return True
    return note.exists() and note.read_text(encoding="utf-8") == trial.name


def _use(built: Built, made_here: bool) -> StageUse:
    manifest = built.record
    return StageUse(
        fingerprint=manifest.fingerprint,
        seconds=manifest.seconds,
        gpu_hours=float(manifest.details.get("gpu_hours", 0.0)),
        cost=manifest.cost,
        made_here=made_here,
        engine_requests=sum(reading.num_rows for reading in read_meters(built.path)),
    )
