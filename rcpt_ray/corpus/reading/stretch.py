"""A part of a file, and what is found in it: a record, or why there is none."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from rcpt_ray.corpus.reading.files import SourceFile
from rcpt_ray.corpus.reading.object_store import first_words, is_store_error


@dataclass(frozen=True)
class Stretch:
    """A part of a file, by row groups where it is Parquet, by bytes where it is plain JSON Lines."""

    file: SourceFile
    start: int = 0
    end: int | None = None
    """The row group or byte after the last one; None to the end. A line belongs where it begins."""
    max_rows: int | None = None
    """Only the first so many rows."""


class Found(NamedTuple):
    """A record, or why there is none."""

    where: str
    record: dict[str, Any]
    problem: str | None = None
    said: str = ""
    """What a user is told who wants no problems."""


def unreadable(file: SourceFile, error: Exception, number: int, unit: str) -> Found:
    """The record of what cannot be read any more; raises the error again where it is the store's."""
    if is_store_error(error):
        raise error
    said = (
        f"{file.path} is cut off or damaged after {number} {unit} ({first_words(error)}); "
        "copy it again, or set corpus.bad_rows=reject to go on without the rest"
    )
    return Found(f"{file.path} after {number} {unit}", {}, "unreadable", said)
