"""The feed: packed rows by index, as arrays for a forward pass.

B rows, T tokens
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.records import PADDING


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    input_ids_BT: npt.NDArray[np.int64]
    position_ids_BT: npt.NDArray[np.int64]
    target_ids_BT: npt.NDArray[np.int64]
    """The next token of each position."""
    target_kind_BT: npt.NDArray[np.int8]
    """The kind of the target; PADDING where there is none: in padding, and at the last token of a document."""


class PackedFeed:
    """Rows of a mixture, read once and held as Arrow columns."""

    def __init__(self, parts: list[Path]) -> None:
        columns = ["input_ids", "position_ids", "segment_kind", "segment_id"]
        table = pa.concat_tables([pq.read_table(part, columns=columns) for part in parts])
        self.num_rows = len(table)
        self._rows = {name: _as_matrix(table[name]) for name in columns}
        self.row_tokens = int(self._rows["input_ids"].shape[1])

    def batch(self, rows: list[int | None]) -> Batch:
        """The rows of these indices; None is an empty row."""
        present = np.array([row if row is not None else 0 for row in rows])
        empty_B = np.array([row is None for row in rows])
        input_ids_BT = self._rows["input_ids"][present].astype(np.int64)
        kind_BT = self._rows["segment_kind"][present].copy()
        kind_BT[empty_B] = PADDING
        segment_BT = self._rows["segment_id"][present]
        target_ids_BT = np.zeros_like(input_ids_BT)
        target_kind_BT = np.full_like(kind_BT, PADDING)
        target_ids_BT[:, :-1] = input_ids_BT[:, 1:]
        same_document_BT = segment_BT[:, 1:] == segment_BT[:, :-1]
        target_kind_BT[:, :-1] = np.where(same_document_BT, kind_BT[:, 1:], PADDING)
        return Batch(input_ids_BT, self._rows["position_ids"][present].astype(np.int64), target_ids_BT, target_kind_BT)


def _as_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    flat: npt.NDArray[np.int32] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
