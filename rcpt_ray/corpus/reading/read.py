"""Read the rows of a source, piece by piece.

Rows come in the order of file names and of rows within a file, so a source reads the same everywhere. Every row that
stands in a file comes out, with the reason where it cannot be used; under `bad_rows: fail` a row or file that cannot
be read ends the reading with a sentence. One batch of rows is in memory at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

from rcpt_ray.corpus.reading.columns import (
    NotText,
    asked_columns,
    is_wanted,
    needed_columns,
    row_id,
    segments,
    top_column,
)
from rcpt_ray.corpus.reading.files import ENDINGS, TEXTS, SourceFile, format_of, list_files
from rcpt_ray.corpus.reading.formats import scan
from rcpt_ray.corpus.reading.pieces import Piece, pieces_of
from rcpt_ray.corpus.reading.stretch import Found, Stretch
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError

BadRows = Literal["fail", "reject"]
_REJECT = "corpus.bad_rows=reject"


@dataclass(frozen=True)
class RawRow:
    """A row as read, or why it cannot be used."""

    row: int
    """Counts the rows of the piece from 0."""
    row_id: str | None
    """The id that the row brings; of a text file its path within the folder."""
    texts: tuple[str, ...]
    """The segments of the document, one text where it has none; empty where there is a problem."""
    where: str
    """The words for where it stands."""
    ending: str = ""
    """The ending of its file, without that of a compression."""
    problem: str | None = None
    """not_json, not_utf8, not_wanted, not_text, no_text, or unreadable for the rest of a cut or damaged file."""


def read_piece(piece: Piece, spec: SourceSpec, bad_rows: BadRows) -> Iterator[RawRow]:
    """The rows of a piece in order.

    Raises:
        UserError: a store does not answer, a table lacks a column, or, where bad rows fail, there is one.
    """
    setting = f"corpus.sources.{piece.source}"
    row = 0
    for stretch in piece.stretches:
        is_first = stretch.start == 0
        for found in islice(scan(stretch, partial(_choose, setting, spec)), stretch.max_rows):
            if is_first and bad_rows == "fail" and not found.problem:
                _check_first(setting, spec, found, stretch.file)
            is_first = False
            raw, said = _raw_row(row, found, spec, setting, stretch.file)
            if said and bad_rows == "fail":
                raise UserError(said if _REJECT in said else f"{said}, or set {_REJECT} to go on without it")
            yield raw
            row += 1


def read_source(name: str, spec: SourceSpec, bad_rows: BadRows = "fail") -> Iterator[RawRow]:
    """The rows of all pieces of a source, one after the other."""
    for piece in pieces_of(name, spec):
        yield from read_piece(piece, spec, bad_rows)


def read_records(file: SourceFile) -> Iterator[tuple[dict[str, Any], str]]:
    """Records of a file, each with the words for where it stands; UserError where one cannot be read."""
    for found in scan(Stretch(file)):
        if found.problem:
            raise UserError(found.said)
        yield found.record, found.where


def read_path(
    setting: str, path: str, endings: Sequence[str] = ENDINGS
) -> Iterator[tuple[dict[str, Any], str, SourceFile]]:
    """Records of all files that a path names, with where each stands and its file."""
    for file in list_files(setting, path, endings):
        for record, where in read_records(file):
            yield record, where, file


def _raw_row(row: int, found: Found, spec: SourceSpec, setting: str, file: SourceFile) -> tuple[RawRow, str]:
    """The row, and what a user is told who wants no bad ones."""
    if found.problem:
        return RawRow(row, None, (), found.where, problem=found.problem), found.said
    ending = format_of(file.name)[0]
    is_text_file = ending in TEXTS
    own_id = row_id(found.record, spec)
    if is_text_file:
        spec = spec.model_copy(update={"text_column": "text", "segment_columns": None})
        own_id = file.inside if spec.id_column else None
    if not is_wanted(found.record, spec):
        return RawRow(row, own_id, (), found.where, problem="not_wanted"), ""
    try:
        texts = segments(found.record, spec)
    except NotText as error:
        return RawRow(row, own_id, (), found.where, problem="not_text"), (
            f"{setting}: {found.where} has a text of type {error}; give text"
        )
    if not texts:
        said = f"{found.where} has no text; remove the row or set corpus.bad_rows=reject"
        return RawRow(row, own_id, (), found.where, problem="no_text"), said
    return RawRow(row, own_id, texts, found.where, ending), ""


def _choose(setting: str, spec: SourceSpec, names: Sequence[str], where: str) -> list[str]:
    """The columns of a table that are read; UserError where it lacks one for the text or the filter."""
    for key, paths in (asked_columns(spec) | {"where": list(spec.where)}).items():
        for path in paths:
            if top_column(path, names) not in names:
                raise _missing(setting, key, path, names, where)
    return needed_columns(spec, names)


def _check_first(setting: str, spec: SourceSpec, found: Found, file: SourceFile) -> None:
    """The first line of a file must have the columns of the text; later ones may leave out what is null."""
    if format_of(file.name)[0] in TEXTS:
        return
    for key, paths in asked_columns(spec).items():
        for path in paths:
            if top_column(path, list(found.record)) not in found.record:
                raise _missing(setting, key, path, list(found.record), found.where)


def _missing(setting: str, key: str, path: str, names: Sequence[str], where: str) -> UserError:
    return UserError(
        f"{setting}.{key}={path} is not in {where}, which has {', '.join(map(str, names)) or 'no columns'}; "
        f"name the column that holds the {'id, or null' if key == 'id_column' else 'text'}"
    )
