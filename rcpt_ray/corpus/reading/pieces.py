"""Pieces of a source: what one worker reads at a time, the same on any number of workers.

Pieces in their order hold every row of the source once, in its order. A file is cut where that costs nothing: Parquet
between row groups, plain JSON Lines every 8 MB; compressed and other files stay whole. Small neighbours are put
together. Price: the footer of each Parquet file is read, and where only the first rows of a source are wanted, the
lines up to them are counted.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.corpus.reading.files import SourceFile, format_of, list_files
from rcpt_ray.corpus.reading.formats import count_rows
from rcpt_ray.corpus.reading.object_store import first_words, is_store_error
from rcpt_ray.corpus.reading.paths import scheme_of
from rcpt_ray.corpus.reading.stretch import Stretch
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError

PIECE_BYTES = 8 * 1024 * 1024
PIECE_ROWS = 5_000
_UNPACKED = 4
"""Bytes of text in a byte of a compressed file."""
_FILES_AT_ONCE = 16
_COUNTED_BYTES = 256 * 1024 * 1024
_DOCUMENT_BYTES = 4_000  # a document of a remote file that is not looked into


@dataclass(frozen=True)
class Piece:
    """Neighbouring stretches of a source's files; small, and the same on every machine."""

    source: str
    number: int
    """Counts the pieces of the source from 0."""
    stretches: tuple[Stretch, ...]
    num_bytes: int
    """About how much there is to read."""

    @property
    def id(self) -> str:
        """By what it holds: a name for files."""
        digest = hashlib.sha256(repr(self.stretches).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return f"{self.source}-{self.number:06d}-{digest}"


@dataclass(frozen=True)
class _Cut:
    """The least that a piece may hold, with its size."""

    stretch: Stretch
    num_bytes: int
    num_rows: int | None
    """None where only reading would tell."""


def source_files(name: str, spec: SourceSpec) -> list[SourceFile]:
    """The files of a source; UserError names the setting if there are none."""
    if scheme_of(spec.path) == "hf":
        from rcpt_ray.corpus.reading.hub import list_hub_files

        return list_hub_files(f"corpus.sources.{name}", spec)
    return list_files(f"corpus.sources.{name}.path", spec.path)


def pieces_of(name: str, spec: SourceSpec) -> list[Piece]:
    """The pieces of a source; UserError if it names no file or its store does not answer."""
    cuts = _cuts(source_files(name, spec))
    if spec.max_documents is not None:
        cuts = _first_rows(cuts, spec.max_documents)
    return [Piece(name, number, *piece) for number, piece in enumerate(_together(cuts))]


def expected_size(name: str, spec: SourceSpec) -> tuple[float, float]:
    """Documents of a source and bytes of their texts: counted in Parquet's footers and in the first 256 MB of local
    files, guessed from the sizes of the rest."""
    num_rows = num_bytes = 0.0
    counted_rows, counted_bytes = 0, 0
    for cut in _cuts(source_files(name, spec)):
        num_bytes += cut.num_bytes
        if cut.num_rows is not None:
            num_rows += cut.num_rows
        elif cut.stretch.file.is_remote or counted_bytes > _COUNTED_BYTES:
            num_rows += cut.num_bytes * (counted_rows / counted_bytes if counted_bytes else 1 / _DOCUMENT_BYTES)
        else:
            rows = count_rows(cut.stretch)
            counted_rows, counted_bytes, num_rows = counted_rows + rows, counted_bytes + cut.num_bytes, num_rows + rows
    kept = min(1.0, (spec.max_documents or num_rows) / num_rows) if num_rows else 0.0
    return num_rows * kept, num_bytes * kept


def _cuts(files: Sequence[SourceFile]) -> Iterator[_Cut]:
    """Cuts of files in order; of remote ones several footers are fetched at a time."""
    if not any(file.is_remote for file in files):
        for file in files:
            yield from _cuts_of(file)
        return
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for first in range(0, len(files), _FILES_AT_ONCE):
            for cuts in pool.map(_cuts_of, files[first : first + _FILES_AT_ONCE]):
                yield from cuts


def _cuts_of(file: SourceFile) -> list[_Cut]:
    ending, compression = format_of(file.name)
    if ending == ".parquet":
        return _row_groups(file)
    if ending in (".jsonl", ".ndjson") and compression is None:
        starts = range(0, max(1, file.size), PIECE_BYTES)
        ends = [*starts[1:], None]
        return [
            _Cut(Stretch(file, start, end), (end or file.size) - start, None)
            for start, end in zip(starts, ends, strict=True)
        ]
    return [_Cut(Stretch(file), file.size * (_UNPACKED if compression else 1), None)]


def _row_groups(file: SourceFile) -> list[_Cut]:
    try:
        with pq.ParquetFile(file.open()) as parquet:
            groups = [parquet.metadata.row_group(group) for group in range(parquet.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        if is_store_error(error):
            raise UserError(f"{file.path} cannot be read: {first_words(error)}; try again when it can") from None
        return [_Cut(Stretch(file), file.size, None)]  # whoever reads the piece tells what is wrong
    return [
        _Cut(Stretch(file, number, number + 1), group.total_byte_size, group.num_rows)
        for number, group in enumerate(groups)
    ]


def _first_rows(cuts: Iterator[_Cut], max_rows: int) -> Iterator[_Cut]:
    left = max_rows
    for cut in cuts:
        num_rows = count_rows(cut.stretch, left) if cut.num_rows is None else min(left, cut.num_rows)
        left -= num_rows
        if left:
            yield replace(cut, num_rows=num_rows)
            continue
        yield replace(cut, stretch=replace(cut.stretch, max_rows=num_rows), num_rows=num_rows)
        return


def _together(cuts: Iterator[_Cut]) -> Iterator[tuple[tuple[Stretch, ...], int]]:
    """Neighbours up to the size of a piece with their bytes, adjoining stretches of a file as one."""
    open_piece, num_bytes, num_rows = list[Stretch](), 0, 0
    for cut in cuts:
        rows = 1 if cut.num_rows is None else cut.num_rows
        if open_piece and (num_bytes + cut.num_bytes > PIECE_BYTES or num_rows + rows > PIECE_ROWS):
            yield tuple(open_piece), num_bytes
            open_piece, num_bytes, num_rows = [], 0, 0
        last = open_piece[-1] if open_piece else None
        if last and last.file == cut.stretch.file and last.end == cut.stretch.start and cut.stretch.max_rows is None:
            open_piece[-1] = replace(last, end=cut.stretch.end)
        else:
            open_piece.append(cut.stretch)
        num_bytes, num_rows = num_bytes + cut.num_bytes, num_rows + rows
    if open_piece:
        yield tuple(open_piece), num_bytes
