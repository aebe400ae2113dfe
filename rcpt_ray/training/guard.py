"""When training stops by itself: a loss or gradient that is no number, or a spike of the loss beyond the bound.

A step is judged before it is recorded and before a checkpoint can hold it; every rank sees the same row and so comes to
the same verdict. A stop is no failure of a worker: started again, the workers would only come to it again. What is
known of it stands in stopped.json, and the command ends with one sentence.
"""

import json
import math
import statistics
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.errors import WorkStopped
from rcpt_ray.training.guard_spec import GuardSpec

STOPPED = "stopped.json"
_ENOUGH_STEPS = 8
_SHOWN_DOCUMENTS = 3


class TrainingStopped(WorkStopped):
    """Going on is useless; one sentence with the step, the documents of its batch and what can be done."""


class TrainingGivenUp(TrainingStopped):
    """Others of its sweep do better (give_up.py); there is a checkpoint to go on from."""


class Guard:
    """Judges each step's row."""

    def __init__(self, spec: GuardSpec, losses_before: Sequence[float], *, skips_overflow: bool) -> None:
        """`losses_before` are those of the steps before, of an earlier attempt too.

        `skips_overflow` is fp16's way: a step whose scaled gradients overflow is left out and the scale is lowered.
        """
        self._spec, self._skips_overflow = spec, skips_overflow
        self._losses = deque(losses_before, maxlen=spec.window_steps)

    def reason_to_stop(self, row: dict[str, Any]) -> str | None:
        """Why the row is beyond the bounds, in words; None where it is not, and then its loss joins the window."""
        loss, grad_norm = row["loss"], row["grad_norm"]
        if not math.isfinite(loss):
            return f"its loss is {loss}"
        if not math.isfinite(grad_norm) and not self._skips_overflow:
            return f"its gradients are not finite (norm {grad_norm}) at a loss of {loss:.3f}"
        spike = self._spec.loss_spike
        if spike is not None and len(self._losses) >= min(_ENOUGH_STEPS, self._spec.window_steps):
            median = statistics.median(self._losses)
            if loss - median > spike:
                return (
                    f"its loss of {loss:.3f} is {loss - median:.3f} above the median {median:.3f} of the last "
                    f"{len(self._losses)} steps, and training.guard.loss_spike is {spike:g}"
                )
        self._losses.append(loss)
        return None


def stop(folder: Path, row: dict[str, Any], reason: str, doc_ids: Sequence[str], rank: int) -> TrainingStopped:
    """What every rank is to raise; rank 0 leaves stopped.json for the command and for the person who looks into it."""
    shown = ", ".join(doc_ids[:_SHOWN_DOCUMENTS]) or "not known"
    rest = f" and {len(doc_ids) - _SHOWN_DOCUMENTS:,} more" if len(doc_ids) > _SHOWN_DOCUMENTS else ""
    is_spike = not any(_is_no_number(row[name]) for name in ("loss", "grad_norm"))
    goes_on = "raise training.guard.loss_spike (null never stops), which goes on from the last checkpoint, or "
    sentence = (
        f"training stopped at step {row['step']}: {reason}; documents of its batch: {shown}{rest}, all in "
        f"{folder / STOPPED}; look at them, then {goes_on if is_spike else ''}lower training.learning_rate or leave "
        "documents out, which begins anew"
    )
    if rank == 0:
        known = {"sentence": sentence, "step": row["step"], "reason": reason, "doc_ids": list(doc_ids)}
        shown_row = {name: str(value) if _is_no_number(value) else value for name, value in row.items()}
        write_atomic(folder / STOPPED, json.dumps(known | {"row": shown_row}, indent=1, ensure_ascii=False))
    return TrainingStopped(sentence)


def forget_stop(folder: Path) -> None:
    """What an earlier command left of its stop says nothing of this one."""
    (folder / STOPPED).unlink(missing_ok=True)


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
