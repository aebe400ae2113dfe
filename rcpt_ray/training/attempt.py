"""Attempts at one training, and which of them may change what all of them share: the newest one.

    checkpoints/attempt   the name of the newest attempt
    attempts.jsonl        a row an attempt: its name, when it began its steps, after which step, the node of each rank

A rank on a machine that was cut off lives on beside the attempt that follows its own. It takes no further step, since
each needs all ranks; but what rank 0 does between two collectives (cut the files of rows, make a checkpoint whole, put
the model in its place) it would still do, perhaps a minute later. So an attempt writes under names of its own, and asks
whether it is still the newest before it puts anything where others look. Price: eight bytes are read, a few times in a
training. What is left is an attempt that sleeps between the answer and the rename; its model has the same bytes.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.training.row_file import RowFile
from rcpt_ray.training.saved import ATTEMPT

ATTEMPTS = "attempts.jsonl"


class AttemptOver(RuntimeError):
    """Another attempt at the same training has begun."""


@dataclass(frozen=True)
class Attempt:
    """One start of the ranks."""

    checkpoints: Path
    """The folder of the training's checkpoints."""
    name: str

    @classmethod
    def begin(cls, checkpoints: Path) -> "Attempt":
        """A new one, from now on the newest."""
        attempt = cls(checkpoints, os.urandom(4).hex())
        write_atomic(checkpoints / ATTEMPT, attempt.name)
        return attempt

    @classmethod
    def newest(cls, checkpoints: Path) -> "Attempt":
        """The one that began last; FileNotFoundError where none has."""
        return cls(checkpoints, (checkpoints / ATTEMPT).read_text(encoding="utf-8"))

    def require_newest(self) -> None:
        """AttemptOver where another one has begun."""
        if Attempt.newest(self.checkpoints) != self:
            raise AttemptOver("another attempt at this training has begun; this one changes nothing more")

    def record(self, folder: Path, steps_done: int, nodes: Sequence[str]) -> None:
        """Add a row to the training's attempts.jsonl; `nodes` are the ranks' by Ray's ids, in the order of the ranks.

        Raises:
            AttemptOver: another one has begun.
        """
        self.require_newest()
        row = {"attempt": self.name, "time_s": time.time(), "steps_done": steps_done, "nodes": list(nodes)}
        rows = RowFile(folder / ATTEMPTS, lambda row: True)  # leaves out a line that was torn off
        rows.append([row])
        rows.close()
