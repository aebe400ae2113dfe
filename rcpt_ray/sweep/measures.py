"""What an evaluation measured, as one number a measure, and the objectives made of them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.spec import HELDOUT
from rcpt_ray.sweep.spec import SweepSpec

if TYPE_CHECKING:
    import pyarrow as pa


def measures_of(scores: "pa.Table") -> dict[str, float]:
    """Weighted means of records.SCORE by task/metric, and by task/metric/domain where items have a domain.

    Items whose score is no number make the mean no number, and such a mean is left out.
    """
    sums: dict[str, list[tuple[float, float]]] = {}
    for row in scores.to_pylist():
        name = f"{row['task']}/{row['metric']}"
        own = (row["value"], row["weight"])
        sums.setdefault(name, []).append(own)
        if row["domain"]:
            sums.setdefault(f"{name}/{row['domain']}", []).append(own)
    means = {name: _mean(items) for name, items in sorted(sums.items())}
    return {name: mean for name, mean in means.items() if math.isfinite(mean)}


def objectives_of(sweep: SweepSpec, measures: Mapping[str, float]) -> dict[str, float]:
    """The weighted sums; UserError where the evaluation did not measure one of their parts."""
    objectives: dict[str, float] = {}
    for name, spec in sweep.objectives.items():
        for measure in spec.measures:
            if measure not in measures:
                have = ", ".join(measures) or "none"
                raise UserError(f"sweep.objectives.{name}: {measure} was not measured; there are {have}")
        objectives[name] = sum(weight * measures[measure] for measure, weight in spec.measures.items())
    return objectives


def check_objectives(sweep: SweepSpec, tasks: Sequence[str], with_bits: bool) -> None:
    """ValueError where an objective names a task that the evaluation does not have."""
    known = [*tasks, *[HELDOUT] * with_bits]
    for name, spec in sweep.objectives.items():
        for measure in spec.measures:
            if measure.split("/")[0] not in known:
                raise ValueError(
                    f"sweep.objectives.{name}: {measure} is of no task of the evaluation; those are "
                    f"{', '.join(known) or 'none'}"
                )


def _mean(items: Sequence[tuple[float, float]]) -> float:
    total = math.fsum(weight for _, weight in items)
    return math.fsum(value * weight for value, weight in items) / total if total else math.nan
