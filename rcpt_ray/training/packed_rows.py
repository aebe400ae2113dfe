"""Rows of a mixture by index, wherever they lie in its parts.

    B rows, T tokens, G row groups

The footers of the parts say how many rows each row group has; a row's group is found in their sum, and whole groups are
decoded, since Parquet reads nothing smaller. The groups decoded last are kept. Price: a footer a part at the start and
16 bytes a group; at most `_KEPT_TOKENS` decoded tokens of 9 bytes, whatever the mixture's size. A group of 131,072
tokens is decoded in 2 ms.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.errors import UserError
from rcpt_ray.training.batch import COLUMNS, Batch, Columns, batch_of, columns_of

_KEPT_TOKENS = 2**22


class PackedRows:
    """The rows of some parts (records.PACKED_ROW), numbered through in the order of the parts.

    Raises:
        UserError: a part is missing or broken, when it is opened or, if it went later, when its rows are asked for.
    """

    def __init__(self, parts: Sequence[Path]) -> None:
        self._groups: list[tuple[Path, int]] = []
        sizes, num_tokens = list[int](), 0
        for part in parts:
            metadata = _open(part).metadata
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            self._groups += [(part, number) for number in range(len(groups))]
            sizes += [group.num_rows for group in groups]
            num_tokens += sum(group.column(0).num_values for group in groups)
        self._first_row_G = np.append(0, np.cumsum(sizes, dtype=np.int64))
        self.num_rows = int(self._first_row_G[-1])
        self.row_tokens = num_tokens // max(1, self.num_rows)
        largest = max(sizes, default=1) * self.row_tokens
        self._columns_of_group = lru_cache(maxsize=max(2, _KEPT_TOKENS // max(1, largest)))(self._decode)
        self._file = lru_cache(maxsize=2)(_open)

    @property
    def num_groups(self) -> int:
        """Row groups of all parts."""
        return len(self._groups)

    @property
    def num_decoded(self) -> int:
        """Row groups decoded so far, those decoded again counted again."""
        return self._columns_of_group.cache_info().misses

    def batch(self, rows: Sequence[int | None]) -> Batch:
        """The rows of these indices as a micro-batch; None is an empty row, for which nothing is read."""
        shape, places = (len(rows), self.row_tokens), list[int | None]()
        columns: dict[str, npt.NDArray[Any]] = {
            "input_ids": np.zeros(shape, np.int32),
            "position_ids": np.tile(np.arange(self.row_tokens, dtype=np.int32), (len(rows), 1)),
            "segment_kind": np.zeros(shape, np.int8),
        }
        for place, row in enumerate(rows):
            places.append(None if row is None else place)
            if row is not None:
                group, within = self._group_of(row)
                for name, own in self._columns_of_group(group).items():
                    columns[name][place] = own[within]
        return batch_of(columns, places)

    def doc_ids(self, rows: Sequence[int | None]) -> list[str]:
        """The documents of these rows, each once. Reads names alone, from the files; may run beside `batch`."""
        within_of_group: dict[int, list[int]] = {}
        for row in rows:
            if row is not None:
                group, within = self._group_of(row)
                within_of_group.setdefault(group, []).append(within)
        found: dict[str, None] = {}
        for group, within_rows in within_of_group.items():
            part, number = self._groups[group]
            names = _read(_open(part), part, number, ["doc_ids"])["doc_ids"]
            found |= dict.fromkeys(name for own in names.take(within_rows).to_pylist() for name in own)
        return list(found)

    def _group_of(self, row: int) -> tuple[int, int]:
        assert 0 <= row < self.num_rows
        group = int(np.searchsorted(self._first_row_G, row, side="right")) - 1
        return group, row - int(self._first_row_G[group])

    def _decode(self, group: int) -> Columns:
        part, number = self._groups[group]
        return columns_of(_read(self._file(part), part, number, COLUMNS))


def _open(part: Path) -> Any:
    try:
        return pq.ParquetFile(part)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _read(file: Any, part: Path, group: int, columns: Sequence[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _unreadable(part: Path, error: Exception) -> UserError:
    why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
    return UserError(
        f"training: {part} {why}, and a training needs all parts of its mixture; bring the file back, or remove the "
        f"folder {part.parent} and run the same command again, which makes the mixture anew"
    )
