"""From a stretch of a file to its records, whatever the file is written in.

What cannot be read is told and not raised, so that the caller decides: a broken line is one record with a problem, and
what follows a cut or damaged place in a file is one record with the problem `unreadable`. A store that fails is another
matter, and ends the reading: a row must not get lost because a network was down.
"""

import contextlib
from collections.abc import Iterator

from rcpt_ray.corpus.reading.files import TEXTS, SourceFile, format_of
from rcpt_ray.corpus.reading.lines import lines, scan_json, scan_lines, whole_text
from rcpt_ray.corpus.reading.object_store import first_words
from rcpt_ray.corpus.reading.stretch import Found, Stretch
from rcpt_ray.corpus.reading.tables import ChooseColumns, all_columns, scan_arrow, scan_parquet
from rcpt_ray.errors import UserError


def scan(stretch: Stretch, choose: ChooseColumns = all_columns) -> Iterator[Found]:
    """The records of a stretch in order; UserError if the store does not answer."""
    with _store_answers(stretch.file):
        match format_of(stretch.file.name)[0]:
            case ".parquet":
                yield from scan_parquet(stretch, choose)
            case ".arrow":
                yield from scan_arrow(stretch.file, choose)
            case ".json":
                yield from scan_json(stretch)
            case ending if ending in TEXTS:
                yield whole_text(stretch.file)
            case _:
                yield from scan_lines(stretch)


def count_rows(stretch: Stretch, limit: int | None = None) -> int:
    """Number of rows of a stretch, counted no further than `limit`; UserError if the store does not answer."""
    number = 0
    with _store_answers(stretch.file):
        is_lines = format_of(stretch.file.name)[0] in (".jsonl", ".ndjson")
        for number, _ in enumerate(lines(stretch) if is_lines else scan(stretch), start=1):
            if number == limit:
                break
    return number


@contextlib.contextmanager
def _store_answers(file: SourceFile) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Behind hf:// stand libraries with errors of their own kinds.
        if isinstance(error, UserError) or not (isinstance(error, OSError) or file.path.startswith("hf://")):
            raise
        raise UserError(f"{file.path} cannot be read: {first_words(error)}; try again when it can") from None
