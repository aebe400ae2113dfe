"""A trial, and what became of it.

TRIALS/<number>.s<seed>.json    written whole when the trial has ended, so a killed sweep repeats nothing finished
"""

import contextlib
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from rcpt_ray.artifacts import canonical_json, write_atomic

Role = Literal["searched", "recipe", "stratified"]
"""Why a point is tried: the searcher asked for it, it is the recipe as it is, or shares are equal in it."""


class Record(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(Record):
    """One point of the space with one seed."""

    number: int
    """Of the point, in the order in which points were asked for."""
    role: Role
    point: dict[str, Any]
    """Swept settings by their dotted names; shares as a dictionary of those above zero."""
    seed: int
    asked: dict[str, float] = {}
    """Where the searcher looked, in its own terms; empty for one that needs no memory."""

    @property
    def name(self) -> str:
        """Sorts as the trials were asked for: 0003.s17."""
        return f"{self.number:04d}.s{self.seed}"


class StageUse(Record):
    """A stage that a trial stands on; several trials may stand on one."""

    fingerprint: str
    seconds: float
    gpu_hours: float
    cost: float | None
    made_here: bool
    """Whether this trial made it, in this command or an earlier one; else it was there, or another trial made it."""
    engine_requests: int = 0
    """Texts that an engine wrote for it."""
    is_finished: bool = True
    """False for a training that was given up or failed: what it took until then."""


class TrialResult(Record):
    """What became of a trial."""

    trial: Trial
    status: Literal["ok", "stopped", "refused", "failed"]
    """stopped: its training was given up because it fell behind; refused: its settings cannot be had together, such as
    shares that the corpus has no tokens for; failed: anything else."""
    reason: str = ""
    """Why it is not ok, in a sentence."""
    objectives: dict[str, float] = {}
    """By name; of a trial that is ok all of them."""
    measures: dict[str, float] = {}
    """What the evaluation measured, by task/metric and task/metric/domain."""
    stages: dict[str, StageUse] = {}
    """By the stage's name."""
    num_tokens: int | None = None
    """Tokens of its mixture."""
    seconds: float = 0.0
    """From when the trial was asked for to when its result was read."""
    made_seconds: float = 0.0
    """Of these, what went into stages that were made."""
    waited_seconds: float = 0.0
    """Of these, what went into waiting for stages that other trials made."""

    @property
    def overhead_seconds(self) -> float:
        """What the sweep itself took of them."""
        return self.seconds - self.made_seconds - self.waited_seconds


TRIAL_ROW = pa.schema(
    [
        ("trial", pa.string()),
        ("number", pa.int32()),
        ("role", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("settings", pa.string()),
        ("objectives", pa.map_(pa.string(), pa.float64())),
        ("measures", pa.map_(pa.string(), pa.float64())),
        ("num_tokens", pa.int64()),
        ("engine_requests", pa.int64()),
        ("seconds", pa.float64()),
        ("overhead_seconds", pa.float64()),
        ("gpu_hours", pa.float64()),
        ("cost", pa.float64()),
    ]
)
"""A row a trial; `settings` is JSON. Requests, hours and cost are of the stages that the trial made itself."""


def write_result(folder: Path, result: TrialResult) -> None:
    """Write a trial's result into the folder of trials."""
    write_atomic(folder / f"{result.trial.name}.json", result.model_dump_json(indent=1), durable=True)


def read_result(folder: Path, trial: Trial) -> TrialResult | None:
    """What became of a trial; None where it has left nothing."""
    try:
        text = (folder / f"{trial.name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return TrialResult.model_validate_json(text)


def read_results(folder: Path) -> list[TrialResult]:
    """All results in a folder, in the order in which trials were asked for; those of other versions are left out."""
    results = []
    for file in sorted(folder.glob("*.json")):
        with contextlib.suppress(ValidationError):
            results.append(TrialResult.model_validate_json(file.read_text(encoding="utf-8")))
    return results


def table_of(results: list[TrialResult]) -> pa.Table:
    """The results as rows of TRIAL_ROW."""
    rows = []
    for result in results:
        made = [use for use in result.stages.values() if use.made_here]
        costs = [use.cost for use in made if use.cost is not None]
        rows.append(
            {
                "trial": result.trial.name,
                "number": result.trial.number,
                "role": result.trial.role,
                "seed": result.trial.seed,
                "status": result.status,
                "reason": result.reason,
                "settings": canonical_json(result.trial.point),
                "objectives": list(result.objectives.items()),
                "measures": list(result.measures.items()),
                "num_tokens": result.num_tokens,
                "engine_requests": sum(use.engine_requests for use in made),
                "seconds": result.seconds,
                "overhead_seconds": result.overhead_seconds,
                "gpu_hours": sum(use.gpu_hours for use in made),
                "cost": sum(costs) if costs else None,
            }
        )
    return pa.Table.from_pylist(rows, TRIAL_ROW)
