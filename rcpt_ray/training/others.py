"""The curves of a sweep's trainings, and which of them is behind the others: the median stopping rule.

    FOLDER/<name>.json    {"measured": [[0.0, 3.12], [0.25, 2.41]], "has_ended": false}

A training is behind where its fewest held-out bits per byte so far are more than the median of the others' fewest up to
the same share of their steps (Golovin et al. 2017, Google Vizier, section 3.2.2). Vizier takes the running means of
finished trainings; here bits fall steeply at first, so that hardly any best is above such a mean, and most trainings
run at once: it is the best of all that have come as far. One that has ended, given up too, counts with its best from
then on; else the better half would be halved again at the next measurement, and so on.
Price: a file of 40 bytes a measurement, and after each one reading those of the others.
"""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.guard_spec import OthersSpec
from rcpt_ray.training.heldout import mean_bits
from rcpt_ray.training.row_file import Row


@dataclass(frozen=True)
class Curve:
    """How held-out bits per byte, the mean over the domains, went in one training."""

    measured: tuple[tuple[float, float], ...]
    """(share of its steps that was done, bits per byte) of each measurement, the first one first."""
    has_ended: bool = False
    """Whether nothing more comes: it is finished, or was given up."""

    def best(self, share: float) -> float | None:
        """The fewest bits per byte up to a share of the steps; None where it has not come as far."""
        has_come = self.has_ended or any(at >= share for at, _ in self.measured)
        return min((bits for at, bits in self.measured if at <= share), default=None) if has_come else None


@dataclass(frozen=True)
class Behind:
    """What a training is given up for."""

    share: float
    """Of its steps."""
    bits: float
    """Its fewest bits per byte so far."""
    median: float
    """Of the others' fewest up to the same share."""
    num_others: int


def find_behind(own: Curve, others: Iterable[Curve], spec: OthersSpec) -> Behind | None:
    """How a training is behind at its last measurement; None where it is not, or too little is known, or it has not
    begun or is done."""
    share, _ = own.measured[-1]
    bits = own.best(share)
    bests = [best for other in others if (best := other.best(share)) is not None]
    is_under_way = 0 < share < 1 and share >= spec.after_share
    if bits is None or not is_under_way or len(bests) < spec.min_others:
        return None
    median = statistics.median(bests)
    return Behind(share, bits, median, len(bests)) if bits > median else None


def curve_of(rows: Sequence[Row], num_steps: int) -> Curve:
    """The curve in a training's rows of heldout.jsonl; `num_steps` are planned for it."""
    of_step: dict[int, list[Row]] = {}
    for row in rows:
        of_step.setdefault(row["step"], []).append(row)
    means = ((step / num_steps, mean_bits(own)) for step, own in of_step.items())
    return Curve(tuple((share, bits) for share, bits in means if bits is not None))


def write_curve(spec: OthersSpec, curve: Curve) -> None:
    """Show the others this training's curve."""
    content = {"measured": curve.measured, "has_ended": curve.has_ended}
    write_atomic(Path(spec.folder) / f"{spec.name}.json", json.dumps(content, allow_nan=False))


def read_others(spec: OthersSpec) -> list[Curve]:
    """The curves of the others, as far as they have come, by name."""
    files = (file for file in sorted(Path(spec.folder).glob("*.json")) if file.stem != spec.name)
    return [_curve(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _curve(content: dict[str, object]) -> Curve:
    measured, has_ended = content["measured"], content["has_ended"]
    assert isinstance(measured, list)
    return Curve(tuple((share, bits) for share, bits in measured), bool(has_ended))
