"""The record of the streaming feed: each global batch on disk before any worker sees it.

    stream/batch-00000012.parquet   the rows of batch 12 (RECORDED_ROW), as many as a step takes, fewer in the last
    stream/end.json                 how many batches there are, and what became of the documents
    stream/failure-<command>.json   after how many batches a command cannot go on, and why

A batch is written beside its place and linked to its name, which fails where the name exists: of two packers, one of
them left over from an earlier attempt, only one makes a batch, and both see the same one. So what a step trains on is
fixed for good by the first file of its name, and a training that is taken up again reads the batches as they are.
Price: a link on the run's disk, and some 4 bytes a token.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import make_durable, table_bytes
from rcpt_ray.records import PACKED_ROW

PIECE: Final = pa.struct(
    [
        ("component", pa.string()),
        ("doc_id", pa.string()),
        ("repeat", pa.int32()),
        ("start", pa.int32()),
        ("length", pa.int32()),
    ]
)
RECORDED_ROW: Final = pa.schema([*PACKED_ROW, ("pieces", pa.list_(PIECE))])
"""A packed row and what it was packed from: `pieces[segment_id]` are a token's component, document and the part of it,
which is the whole document unless that is longer than a row; `repeat` counts its draws from 0."""
_COMPACT_ROWS = 4096


@dataclass(frozen=True)
class Failure:
    """Why a command cannot go on."""

    num_batches: int
    """Batches that there were."""
    sentence: str
    """For the user."""


class Record:
    """The batches in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def num_batches(self, known: int = 0) -> int:
        """Batches from the first one on without a gap, up to the end; the first `known` are there.

        A packer that was left over may make one more while another says that there are no more; it does not count.
        """
        number = known
        while self._file(number).exists():
            number += 1
        end = self.read_end()
        return number if end is None else min(number, int(end["num_batches"]))

    def has(self, step: int) -> bool:
        """Whether a batch is there."""
        return self._file(step).exists()

    def append(self, step: int, rows: pa.Table) -> bool:
        """Make a batch; False where it was there already, with rows of its own."""
        return _create(self._file(step), table_bytes(rows))

    def read(self, step: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a batch (RECORDED_ROW)."""
        return pq.ParquetFile(self._file(step)).read(columns=columns, use_threads=False)

    def end(self, values: Mapping[str, Any]) -> None:
        """Say that there are no more batches; the first one who says so is right."""
        _create(self._folder / "end.json", json.dumps(dict(values)).encode())

    def read_end(self) -> dict[str, Any] | None:
        """What was said at the end, None before it."""
        try:
            values: dict[str, Any] = json.loads((self._folder / "end.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return values

    def fail(self, session: str, failure: Failure) -> None:
        """Say that a command cannot go on; the first one who says so is right."""
        _create(self._failure_file(session), json.dumps(asdict(failure)).encode())

    def read_failure(self, session: str) -> Failure | None:
        """Why a command cannot go on, None where it can."""
        try:
            return Failure(**json.loads(self._failure_file(session).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def forget_failures(self) -> None:
        """What earlier commands left of theirs says nothing of this one."""
        for file in self._folder.glob("failure-*.json"):
            file.unlink(missing_ok=True)

    def _failure_file(self, session: str) -> Path:
        return self._folder / f"failure-{session}.json"

    def _file(self, step: int) -> Path:
        return self._folder / f"batch-{step:08d}.parquet"


def compact(record: Record, num_batches: int, folder: Path) -> None:
    """Write all batches into few files of `folder`, with a column `step`: the exact training, to be repeated.

    They are durable then, so the batches may be removed.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    temporary.mkdir(exist_ok=True)
    schema = RECORDED_ROW.insert(0, pa.field("step", pa.int32()))
    number, step = 0, 0
    while step < num_batches:
        with pq.ParquetWriter(temporary / f"part-{number:06d}.parquet", schema, compression="zstd") as writer:
            num_rows = 0
            while step < num_batches and num_rows < _COMPACT_ROWS:
                rows = record.read(step)
                writer.write_table(rows.add_column(0, schema.field(0), pa.array([step] * len(rows), pa.int32())))
                num_rows, step = num_rows + len(rows), step + 1
        number += 1
    make_durable(*temporary.iterdir(), temporary)
    os.replace(temporary, folder)
    make_durable(folder.parent)


def _create(path: Path, content: bytes) -> bool:
    """Write a whole file that outlives a loss of power, unless its name is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    make_durable(path.parent)
    return True
