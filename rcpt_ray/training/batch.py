"""A micro-batch: packed rows as arrays for a forward pass, with each position's target.

B rows, T tokens
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rcpt_ray.records import PADDING

COLUMNS: Final = ("input_ids", "position_ids", "segment_kind")
"""What of a packed row (records.PACKED_ROW) a forward pass needs."""
Columns = Mapping[str, npt.NDArray[Any]]
"""These columns, each [rows, T]: input_ids and position_ids int32, segment_kind int8."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch."""

    input_ids_BT: npt.NDArray[np.int64]
    position_ids_BT: npt.NDArray[np.int64]
    target_ids_BT: npt.NDArray[np.int64]
    """The next token of each position."""
    target_kind_BT: npt.NDArray[np.int8]
    """The kind of the target; PADDING where there is none: in padding, and at the last token of a document."""


def batch_of(columns: Columns, rows: Sequence[int | None]) -> Batch:
    """The rows of these indices as a micro-batch; None is an empty row, all padding."""
    taken, is_empty_B = [row or 0 for row in rows], np.array([row is None for row in rows])
    input_ids_BT = columns["input_ids"][taken].astype(np.int64)
    position_ids_BT = columns["position_ids"][taken].astype(np.int64)
    kind_BT = columns["segment_kind"][taken].copy()
    kind_BT[is_empty_B] = PADDING
    target_ids_BT, target_kind_BT = np.zeros_like(input_ids_BT), np.full_like(kind_BT, PADDING)
    target_ids_BT[:, :-1] = input_ids_BT[:, 1:]
    # Positions restart at each document, and at the padding.
    target_kind_BT[:, :-1] = np.where(position_ids_BT[:, 1:] > 0, kind_BT[:, 1:], PADDING)
    return Batch(input_ids_BT, position_ids_BT, target_ids_BT, target_kind_BT)


def columns_of(table: pa.Table) -> Columns:
    """The columns of packed rows that a forward pass needs; views of the table where it is in one piece."""
    return {name: _as_matrix(table[name]) for name in COLUMNS}


def _as_matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    flat: npt.NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)
