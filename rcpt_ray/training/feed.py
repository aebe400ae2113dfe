"""The feed: what a rank reads in each step, read ahead of its being asked for.

The packed feed follows from the plan: rank r's rows of step g are known by index, so any restart, on any number of
workers, goes on with the exact next batch. A thread reads the next steps while one is trained on. What the thread
raises is raised where the step is asked for. Price: `_STEPS_AHEAD` + 1 steps of this rank in memory, 25 bytes a token,
beside the decoded row groups that packed_rows.py keeps.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from rcpt_ray.errors import UserError
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.packed_rows import PackedRows
from rcpt_ray.training.plan import TrainingPlan, rows_of_rank, rows_of_step

_STEPS_AHEAD = 2


class Feed(Protocol):
    """Where a rank's micro-batches come from, step by step."""

    def start(self, step: int) -> None:
        """Say which step comes first; the later ones follow in their order."""

    def batches(self, step: int) -> list[Batch] | None:
        """This rank's micro-batches of a step, as many on each rank; None where there are no more, for all ranks."""

    def ends_with(self, step: int) -> bool:
        """Whether this step is known to be the last."""

    def doc_ids(self, step: int) -> list[str]:
        """The documents of the whole global batch of the step that was asked for last; may have to read files."""

    def close(self) -> None:
        """Nothing more is asked for."""


class PackedFeed:
    """One rank's share of a finished mixture.

    Raises:
        UserError: a part is missing or broken, or the parts do not hold the rows that the plan is made for.
    """

    def __init__(self, parts: Sequence[Path], plan: TrainingPlan, rank: int) -> None:
        self._plan, self._rank = plan, rank
        self.rows = PackedRows(parts)
        if self.rows.num_rows != plan.num_rows:
            raise UserError(
                f"training: the parts of the mixture hold {self.rows.num_rows:,} rows but its manifest says "
                f"{plan.num_rows:,}; bring back the files that are missing, or remove the folder "
                f"{parts[0].parent if parts else 'of the mixture'} and run the same command again"
            )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._ahead: dict[int, Future[list[Batch]]] = {}

    def start(self, step: int) -> None:
        """Begin to read."""
        for future in self._ahead.values():
            future.cancel()
        self._ahead = {}
        self._read_ahead(step)

    def batches(self, step: int) -> list[Batch] | None:
        """By the plan."""
        if step >= self._plan.num_steps:
            return None
        self._read_ahead(step)
        return self._ahead.pop(step).result()

    def ends_with(self, step: int) -> bool:
        """By the plan."""
        return step + 1 >= self._plan.num_steps

    def doc_ids(self, step: int) -> list[str]:
        """By the plan, in the order of the mixture; reads the names from the files."""
        return self.rows.doc_ids(sorted(row for row in rows_of_step(self._plan, step) if row is not None))

    def close(self) -> None:
        """End the thread; what it reads now is waited for, what is left is not read."""
        self._thread.shutdown(cancel_futures=True)

    def _read_ahead(self, step: int) -> None:
        for later in range(step, min(step + _STEPS_AHEAD + 1, self._plan.num_steps)):
            if later not in self._ahead:
                self._ahead[later] = self._thread.submit(self._read, later)

    def _read(self, step: int) -> list[Batch]:
        return [self.rows.batch(rows) for rows in rows_of_rank(self._plan, step, self._rank)]
