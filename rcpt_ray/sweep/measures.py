"""What an evaluation measured, as one number a measure, and the objectives made of them."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from rcpt_ray.errors import UserError, WorkStopped
from rcpt_ray.evaluation.spec import HELDOUT, EvaluationSpec, StockTask
from rcpt_ray.sweep.spec import SweepSpec

if TYPE_CHECKING:
    import pyarrow as pa

_BITS = "bits_per_byte"
_METRICS = {
    "likelihood": r"acc",
    "generated": r"acc|extracted|(pass|maj)@\d+",
    "gsm8k": r"acc|extracted|(pass|maj)@\d+",
}


def measures_of(scores: "pa.Table") -> dict[str, float]:
    """Weighted means of records.SCORE by task/metric, and by task/metric/domain where items have a domain."""
    sums: dict[str, list[tuple[float, float]]] = {}
    for row in scores.to_pylist():
        name = f"{row['task']}/{row['metric']}"
        own = (row["value"], row["weight"])
        sums.setdefault(name, []).append(own)
        if row["domain"]:
            sums.setdefault(f"{name}/{row['domain']}", []).append(own)
    return {name: _mean(items) for name, items in sorted(sums.items())}


def objectives_of(sweep: SweepSpec, measures: Mapping[str, float]) -> dict[str, float]:
    """The weighted sums.

    Raises:
        UserError: the evaluation did not measure one of their parts.
        WorkStopped: one of them is no number.
    """
    objectives: dict[str, float] = {}
    for name, spec in sweep.objectives.items():
        for measure in spec.measures:
            if measure not in measures:
                have = ", ".join(measures) or "none"
                raise UserError(f"sweep.objectives.{name}: {measure} was not measured; there are {have}")
        objectives[name] = sum(weight * measures[measure] for measure, weight in spec.measures.items())
        if not math.isfinite(objectives[name]):
            raise WorkStopped(f"the evaluation gave {objectives[name]} for {name}, which is no number")
    return objectives


def check_objectives(sweep: SweepSpec, evaluation: EvaluationSpec, domains: Collection[str]) -> None:
    """ValueError where an objective names what the evaluation will not measure, as far as that is known before."""
    known = [*evaluation.tasks, *[HELDOUT] * evaluation.heldout_bits_per_byte]
    for name, spec in sweep.objectives.items():
        for measure in spec.measures:
            where = f"sweep.objectives.{name}: {measure}"
            task, metric, *domain = measure.split("/")
            if task not in known:
                have = ", ".join(known) or "none"
                raise ValueError(f"{where} is of no task of the evaluation; those are {have}")
            if task == HELDOUT and task not in evaluation.tasks:
                if metric != _BITS or (domain and domain[0] not in domains):
                    have = ", ".join(f"{HELDOUT}/{_BITS}/{own}" for own in dict.fromkeys(domains))
                    raise ValueError(f"{where} is not measured; there are {HELDOUT}/{_BITS} and {have}")
                continue
            kind = evaluation.tasks[task]
            if not isinstance(kind, StockTask) and not re.fullmatch(_METRICS[kind.kind], metric):
                words = _METRICS[kind.kind].replace("|", ", ").replace("(pass, maj)@\\d+", "pass@k, maj@k")
                raise ValueError(f"{where} is not measured; a task of kind {kind.kind} has {words}")


def _mean(items: Sequence[tuple[float, float]]) -> float:
    total = math.fsum(weight for _, weight in items)
    return math.fsum(value * weight for value, weight in items) / total if total else math.nan
