"""Windows: the training's order cut into stretches that fit into memory, each packed by itself.

A candidate's place in the training is the hash `order`, moved by the golden ratio for each time it is drawn again, so
that repeats stand far apart. A window holds the places of one stretch of the hashes; since token files are sorted by
`order`, it reads one slice (or two, where it wraps around) of each file for each repeat. So windows are the same
whatever the shards and workers, any of them can be packed anywhere, and a corpus of any size is packed in the memory of
one window. Price: files x windows slices are read.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rcpt_ray.mixture.blend import Candidates, Cut
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.records import PACKED_ROW, SEGMENT_KINDS

_WHOLE = 2**64
_GROUP_TOKENS = 2**17
"""Tokens of a row group: what a training decodes at once for one of its rows. Smaller ones make packing slower."""
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio


@dataclass(frozen=True)
class Window:
    """The window of a number among so many."""

    number: int
    num_windows: int

    @property
    def bounds(self) -> tuple[int, int]:
        """First place, and the one after the last."""
        return self.number * _WHOLE // self.num_windows, (self.number + 1) * _WHOLE // self.num_windows


@dataclass(frozen=True)
class Packed:
    """What became of a window."""

    num_rows: int
    num_draws: int
    tokens_by_kind: list[int]
    """By segment kind; padding comes first."""


def read_candidates(files: Sequence[Path]) -> dict[str, Candidates]:
    """The candidates of each component over all groups, from the files that hold these alone."""
    found: dict[str, list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]]] = {}
    for file in files:
        table = pq.read_table(file)
        draw_C, num_tokens_C = table["draw"].to_numpy(), table["num_tokens"].to_numpy().astype(np.int64)
        for name in pc.unique(table["component"]).to_pylist():
            here_C = _is(table, name)
            found.setdefault(name, []).append((draw_C[here_C], num_tokens_C[here_C]))
    return {
        name: Candidates(np.concatenate([draw for draw, _ in own]), np.concatenate([size for _, size in own]))
        for name, own in sorted(found.items())
    }


def pack_window(
    window: Window,
    files: Sequence[Path],
    cuts: Mapping[str, Cut],
    spec: MixtureSpec,
    seed: int,
    padding_id: int,
    part: Path,
) -> Packed:
    """Write the packed rows of a window; none are written, and no file, where nothing is drawn in it."""
    documents = _read(window, files, cuts)
    num_rows, kinds = 0, np.zeros(len(SEGMENT_KINDS), np.int64)
    temporary = part.with_name(f".{part.name}.{uuid.uuid4().hex[:8]}.tmp")  # two workers may be given a window
    tables = pack(
        documents, spec.row_tokens, padding_id, [seed, window.number], concatenate=spec.packing == "concatenate"
    )
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(
            temporary,
            PACKED_ROW,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            # Token ids' high bytes are alike: half the time and two thirds of the space of plain ones under zstd.
            column_encoding={"input_ids.list.element": "BYTE_STREAM_SPLIT"},
        )
        writer.write_table(table, row_group_size=max(1, _GROUP_TOKENS // spec.row_tokens))
        num_rows += len(table)
        kinds += np.bincount(table["segment_kind"].combine_chunks().flatten().to_numpy(), minlength=len(SEGMENT_KINDS))
    if writer is not None:
        writer.close()
        temporary.replace(part)
    return Packed(num_rows, len(documents.doc_ids), kinds.tolist())


def _read(window: Window, files: Sequence[Path], cuts: Mapping[str, Cut]) -> Documents:
    """The documents that are drawn into a window, in their order."""
    tables, places = list[pa.Table](), list[npt.NDArray[np.uint64]]()
    for file in files:
        table = _open(file)
        order_C = table["order"].to_numpy()
        for repeat in range(max((cut.num_repeats for cut in cuts.values()), default=0)):
            shift = repeat * _GOLDEN % _WHOLE
            for first, last in _slices(window, shift):
                start, stop = _between(order_C, first, last)
                if start == stop:
                    continue
                piece = table.slice(start, stop - start)
                taken = _taken(piece, cuts, repeat)
                tables.append(piece.filter(pa.array(taken)))
                places.append(order_C[start:stop][taken] + np.uint64(shift))  # wraps around, as it should
    whole = pa.concat_tables(tables) if tables else None
    if whole is None or not len(whole):
        return Documents([], np.empty(0, np.int32), np.empty(0, np.int8), np.zeros(1, np.int64))
    # Equal places are as good as impossible; component and id would decide.
    whole = whole.append_column("place", pa.array(np.concatenate(places)))
    order = pc.sort_indices(whole, [(name, "ascending") for name in ("place", "component", "doc_id")])
    whole = whole.take(order).combine_chunks()
    runs, lengths = _flat(whole["run_kinds"]), _flat(whole["run_lengths"])
    starts = np.append(0, np.cumsum(whole["num_tokens"].to_numpy().astype(np.int64)))
    return Documents(whole["doc_id"].to_pylist(), _flat(whole["ids"]), np.repeat(runs, lengths), starts)


def _slices(window: Window, shift: int) -> list[tuple[int, int]]:
    """Stretches of hashes [first, last) that are in the window after the shift."""
    begin, end = (bound - shift for bound in window.bounds)
    if end <= 0:
        return [(begin + _WHOLE, end + _WHOLE)]
    if begin < 0:
        return [(begin + _WHOLE, _WHOLE), (0, end)]
    return [(begin, end)]


def _between(order_C: npt.NDArray[np.uint64], first: int, last: int) -> tuple[int, int]:
    start = int(np.searchsorted(order_C, np.uint64(first)))
    return start, len(order_C) if last >= _WHOLE else int(np.searchsorted(order_C, np.uint64(last)))


def _taken(piece: pa.Table, cuts: Mapping[str, Cut], repeat: int) -> npt.NDArray[np.bool_]:
    draw_C, taken_C = piece["draw"].to_numpy(), np.zeros(len(piece), np.bool_)
    for name, cut in cuts.items():
        taken_C |= _is(piece, name) & cut.takes(draw_C, repeat)
    return taken_C


def _is(table: pa.Table, component: str) -> npt.NDArray[np.bool_]:
    is_C: npt.NDArray[np.bool_] = pc.equal(table["component"], component).to_numpy()
    return is_C


def _flat(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks().flatten().to_numpy()


def _open(file: Path) -> pa.Table:
    """A token file, mapped into memory: what is not looked at is not read."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
