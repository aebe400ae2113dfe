"""Records of tables: Parquet, and the .arrow files that `datasets` saves.

Memory: a batch of 256 rows and 1 MB a column; of a Parquet file in a store, the packed columns of a stretch, because
they are fetched all at once.

Columns of Python's own Arrow types are not read: Ray Data's, which is registered wherever Ray Data is loaded, would
unpickle what a file holds, and pickle can run code.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.corpus.reading.files import SourceFile
from rcpt_ray.corpus.reading.object_store import first_words, is_store_error
from rcpt_ray.corpus.reading.stretch import Found, Stretch, unreadable

_BATCH_ROWS = 256
_COLUMN_BUFFER = 1024 * 1024  # without it a whole column of a row group is read at once

ChooseColumns = Callable[[Sequence[str], str], list[str]]
"""From the columns of a table and the words for its first row to those that are read."""


def all_columns(names: Sequence[str], where: str) -> list[str]:
    """Every column of a table."""
    return list(names)


def scan_parquet(stretch: Stretch, choose: ChooseColumns) -> Iterator[Found]:
    """The rows of a range of row groups; raises the store's OSError, tells of everything else."""
    file, number = stretch.file, 0
    try:
        with pq.ParquetFile(file.open(), buffer_size=_COLUMN_BUFFER, pre_buffer=file.is_remote) as parquet:
            columns = choose(parquet.schema_arrow.names, f"{file.path} row 0")
            _refuse_columns(parquet.schema_arrow, columns)
            groups = range(stretch.start, parquet.num_row_groups if stretch.end is None else stretch.end)
            number = sum(parquet.metadata.row_group(group).num_rows for group in range(stretch.start))
            for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=groups, columns=columns):
                yield from _records(batch, file, number)
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        if is_store_error(error):
            raise
        said = f"{file.path} cannot be read as Parquet ({first_words(error)}); write it again"
        yield Found(f"{file.path} near row {number}", {}, "unreadable", said)


def scan_arrow(file: SourceFile, choose: ChooseColumns) -> Iterator[Found]:
    """The rows of an Arrow stream or file; raises the store's OSError, tells of everything else."""
    number = 0
    try:
        with file.open() as raw:
            is_file = raw.read(6) == b"ARROW1"
            raw.seek(0)
            reader = pa.ipc.open_file(raw) if is_file else pa.ipc.open_stream(raw)
            columns = choose(reader.schema.names, f"{file.path} row 0")
            _refuse_columns(reader.schema, columns)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            for batch in batches:
                yield from _records(batch.select(columns), file, number)
                number += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        yield unreadable(file, error, number, "rows")


def _refuse_columns(schema: pa.Schema, columns: Sequence[str]) -> None:
    """ArrowException where a column that is read stands twice, or holds a type of Python's own at any depth."""
    fields = [field for field in schema if field.name in columns]
    for name, number in Counter(field.name for field in fields).items():
        if number > 1:
            raise pa.ArrowInvalid(f"there are {number} columns of the name {name}")
    for field in fields:
        if (own := _own_type(field.type)) is not None:
            raise pa.ArrowTypeError(f"column {field.name} is of the type {own}, which could run code and is not read")


def _own_type(kind: pa.DataType) -> str | None:
    if isinstance(kind, pa.ExtensionType):
        return str(kind.extension_name)
    if pa.types.is_dictionary(kind):
        return _own_type(kind.value_type)
    return next((own for place in range(kind.num_fields) if (own := _own_type(kind.field(place).type))), None)


def _records(batch: pa.RecordBatch, file: SourceFile, number: int) -> Iterator[Found]:
    try:
        records: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            yield _record(batch.slice(place, 1), file, number + place)
        return
    for place, record in enumerate(records, start=number):
        yield Found(f"{file.path} row {place}", record)


def _record(row: pa.RecordBatch, file: SourceFile, number: int) -> Found:
    where = f"{file.path} row {number}"
    try:
        return Found(where, row.to_pylist()[0])
    except UnicodeDecodeError:
        said = f"{file.path} near row {number} is not UTF-8; convert the file to UTF-8"
        return Found(where, {}, "not_utf8", said)
