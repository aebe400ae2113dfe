"""The feed: packed rows by index, as arrays for a forward pass.

B rows, T tokens
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.records import PADDING
from rcpt_ray.training.plan import TrainingPlan, rows_of_rank

COLUMNS: Final = ("input_ids", "position_ids", "segment_kind", "segment_id")
Columns = Mapping[str, npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    input_ids_BT: npt.NDArray[np.int64]
    position_ids_BT: npt.NDArray[np.int64]
    target_ids_BT: npt.NDArray[np.int64]
    """The next token of each position."""
    target_kind_BT: npt.NDArray[np.int8]
    """The kind of the target; PADDING where there is none: in padding, and at the last token of a document."""


class Feed(Protocol):
    """Where a rank's micro-batches come from, step by step."""

    def start(self, step: int) -> None:
        """Say which step comes first; the later ones follow in their order."""

    def batches(self, step: int) -> list[Batch] | None:
        """This rank's micro-batches of a step, as many on each rank; None where there are no more, for all ranks."""

    def ends_with(self, step: int) -> bool:
        """Whether this step is known to be the last."""

    def doc_ids(self, step: int) -> list[str]:
        """The documents of the whole global batch of the step that was asked for last."""

    def close(self) -> None:
        """Nothing more is asked for."""


class PackedFeed:
    """Rows of a mixture, read once and held as Arrow columns."""

    def __init__(self, parts: list[Path], plan: TrainingPlan | None = None, rank: int = 0) -> None:
        self._plan, self._rank = plan, rank
        table = pa.concat_tables([pq.read_table(part, columns=list(COLUMNS)) for part in parts])
        self.num_rows = len(table)
        self._rows = columns_of(table)
        self.row_tokens = int(self._rows["input_ids"].shape[1])

    def start(self, step: int) -> None:
        """Nothing has to be made ready."""

    def batches(self, step: int) -> list[Batch] | None:
        """By the plan."""
        assert self._plan is not None
        if step >= self._plan.num_steps:
            return None
        return [self.batch(rows) for rows in rows_of_rank(self._plan, step, self._rank)]

    def ends_with(self, step: int) -> bool:
        """By the plan."""
        return self._plan is not None and step + 1 >= self._plan.num_steps

    def doc_ids(self, step: int) -> list[str]:
        """Not read yet."""
        return []

    def close(self) -> None:
        """Nothing is open."""

    def batch(self, rows: list[int | None]) -> Batch:
        """The rows of these indices; None is an empty row."""
        return batch_of(self._rows, rows)


def batch_of(columns: Columns, rows: Sequence[int | None]) -> Batch:
    """The rows of these indices as a micro-batch; None is an empty row."""
    present = np.array([row if row is not None else 0 for row in rows])
    empty_B = np.array([row is None for row in rows])
    input_ids_BT = columns["input_ids"][present].astype(np.int64)
    kind_BT = columns["segment_kind"][present].copy()
    kind_BT[empty_B] = PADDING
    segment_BT = columns["segment_id"][present]
    target_ids_BT = np.zeros_like(input_ids_BT)
    target_kind_BT = np.full_like(kind_BT, PADDING)
    target_ids_BT[:, :-1] = input_ids_BT[:, 1:]
    same_document_BT = segment_BT[:, 1:] == segment_BT[:, :-1]
    target_kind_BT[:, :-1] = np.where(same_document_BT, kind_BT[:, 1:], PADDING)
    return Batch(input_ids_BT, columns["position_ids"][present].astype(np.int64), target_ids_BT, target_kind_BT)


def columns_of(table: pa.Table) -> Columns:
    """The columns of packed rows that a forward pass needs, each [rows, T]."""
    return {name: _as_matrix(table[name]) for name in COLUMNS}


def _as_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    flat: npt.NDArray[np.int32] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
