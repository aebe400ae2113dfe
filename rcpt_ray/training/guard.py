"""When training stops by itself: a loss that is no number, or a spike beyond the bound."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from rcpt_ray.training.guard_spec import GuardSpec


class TrainingStopped(RuntimeError):
    """The loss says that going on is useless; names the step and the documents of its batch."""


class Guard:
    """Looks at each step's row; all ranks see the same rows and so stop together."""

    def __init__(self, spec: GuardSpec) -> None:
        self._spec = spec

    def check(self, row: dict[str, Any], doc_ids: Callable[[], Sequence[str]]) -> None:
        """Raise TrainingStopped where the row is beyond the bounds; only then are the documents asked for."""
        if not math.isfinite(row["loss"]) or not math.isfinite(row["grad_norm"]):
            raise TrainingStopped(
                f"step {row['step']}: loss {row['loss']}, gradient norm {row['grad_norm']}; documents of its batch: "
                f"{', '.join(doc_ids())}"
            )
