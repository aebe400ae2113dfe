"""Rows of a mixture by index, wherever they lie in its parts.

    B rows, T tokens, G row groups

The footers of the parts say how many rows each row group has; a row's group is found in their sum, and whole groups are
decoded, since Parquet reads nothing smaller. The groups decoded last are kept. Price: a footer a part at the start and
16 bytes a group; at most `_KEPT_TOKENS` decoded tokens of 9 bytes, whatever the mixture's size. A group of 131,072
tokens is decoded in 2 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.errors import UserError
from rcpt_ray.records import PADDING

_COLUMNS = ["input_ids", "position_ids", "segment_kind"]
_KEPT_TOKENS = 2**22


@dataclass(frozen=True)
class Tokens:
    """Packed rows as arrays: input_ids int32[B, T], position_ids int32[B, T], segment_kind int8[B, T]."""

    input_ids_BT: npt.NDArray[np.int32]
    position_ids_BT: npt.NDArray[np.int32]
    kind_BT: npt.NDArray[np.int8]


class PackedRows:
    """The rows of some parts (records.PACKED_ROW), numbered through in the order of the parts.

    Raises:
        UserError: a part is missing or broken, when it is opened or, if it went later, when its rows are asked for.
    """

    def __init__(self, parts: Sequence[Path], row_tokens: int) -> None:
        self._row_tokens = row_tokens
        self._groups: list[tuple[Path, int]] = []
        sizes: list[int] = []
        for part in parts:
            metadata = _open(part).metadata
            self._groups += [(part, group) for group in range(metadata.num_row_groups)]
            sizes += [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._first_row_G = np.append(0, np.cumsum(sizes, dtype=np.int64))
        self.num_rows = int(self._first_row_G[-1])
        num_kept = max(2, _KEPT_TOKENS // max(1, max(sizes, default=1) * row_tokens))
        self._tokens_of_group = lru_cache(maxsize=num_kept)(self._decode)
        self._file = lru_cache(maxsize=2)(_open)

    @property
    def num_groups(self) -> int:
        """Row groups of all parts."""
        return len(self._groups)

    @property
    def num_decoded(self) -> int:
        """Row groups decoded so far, those decoded again counted again."""
        return self._tokens_of_group.cache_info().misses

    def tokens(self, rows: Sequence[int | None]) -> Tokens:
        """The tokens of these rows; None is a row of padding."""
        shape = len(rows), self._row_tokens
        found = Tokens(np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.full(shape, PADDING, np.int8))
        found.position_ids_BT[:] = np.arange(self._row_tokens)
        for place, row in enumerate(rows):
            if row is not None:
                group, within = self._group_of(row)
                decoded = self._tokens_of_group(group)
                found.input_ids_BT[place] = decoded.input_ids_BT[within]
                found.position_ids_BT[place] = decoded.position_ids_BT[within]
                found.kind_BT[place] = decoded.kind_BT[within]
        return found

    def doc_ids(self, rows: Sequence[int | None]) -> list[str]:
        """The documents of these rows, each once. Reads names alone, from the files; may run beside `tokens`."""
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

    def _decode(self, group: int) -> Tokens:
        part, number = self._groups[group]
        table = _read(self._file(part), part, number, _COLUMNS)
        matrices = [table[name].combine_chunks().flatten().to_numpy().reshape(len(table), -1) for name in _COLUMNS]
        assert matrices[0].shape[1] == self._row_tokens, f"{part} has rows of {matrices[0].shape[1]} tokens"
        return Tokens(*matrices)


def _open(part: Path) -> Any:
    try:
        return pq.ParquetFile(part)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _read(file: Any, part: Path, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(part, error) from error


def _unreadable(part: Path, error: Exception) -> UserError:
    why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
    return UserError(
        f"training: {part} {why}, and a training needs all parts of its mixture; bring the file back, or remove the "
        f"folder {part.parent} and run the same command again, which makes the mixture anew"
    )
