"""Rows that are written while training, as lines of JSON: steps.jsonl, heldout.jsonl, attempts.jsonl.

Invariants: a line counts when its end is there; a training that goes on from a checkpoint first cuts off what was
written after it. Price: a write of 300 bytes a row, and one fsync before each checkpoint.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import write_atomic

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a file, none where it does not exist."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


class RowFile:
    """A growing file of rows; `kept` are those of an earlier attempt that still hold."""

    def __init__(self, path: Path, keep: Callable[[Row], bool]) -> None:
        self.kept = [row for row in read_rows(path) if keep(row)]
        write_atomic(path, "".join(_line(row) for row in self.kept))
        self._file = path.open("a", encoding="utf-8")

    def append(self, rows: Sequence[Row]) -> None:
        """Rows as a reader of the file sees them at once."""
        self._file.write("".join(_line(row) for row in rows))
        self._file.flush()

    def flush(self) -> None:
        """What was appended outlives the machine."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing more is appended."""
        self.flush()
        self._file.close()


class Follower:
    """Passes on each new whole row of growing files once, also when a file is cut and written again from there."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._places = {file: _Place() for file in files}

    def new_rows(self) -> Iterator[Row]:
        """What was appended since the last call; only that is read."""
        for file, place in self._places.items():
            if file.exists():
                yield from place.read_on(file)


class _Place:
    """How far a file was read."""

    def __init__(self) -> None:
        self._inode, self._offset, self._line, self._num_seen = -1, 0, 0, 0

    def read_on(self, file: Path) -> Iterator[Row]:
        with file.open("rb") as content:
            inode = os.fstat(content.fileno()).st_ino
            if inode != self._inode:  # a file that was cut is a new one
                self._inode, self._offset, self._line = inode, 0, 0
            content.seek(self._offset)
            *whole, rest = content.read().split(b"\n")
            self._offset = content.tell() - len(rest)
        for line in whole:
            self._line += 1
            if self._line > self._num_seen:
                self._num_seen = self._line
                yield json.loads(line)


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
