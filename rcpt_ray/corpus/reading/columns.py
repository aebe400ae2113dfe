"""From a record to a document: the columns that a source maps to segments, id and filter.

A path `a.b` is field b of column a, unless a column has that very name; lists on the way are walked through, so
`casebody.opinions.text` is the text of every opinion of a case.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rcpt_ray.corpus.spec import SourceSpec

Record = dict[str, Any]


class NotText(Exception):
    """A column holds something that is not text; its message is the type."""


def text_columns(spec: SourceSpec) -> dict[str, list[str]]:
    """The columns with a document's texts, by the setting that names them."""
    if spec.segment_columns is not None:
        return {"segment_columns": spec.segment_columns}
    return {"text_column": [spec.text_column]}


def asked_columns(spec: SourceSpec) -> dict[str, list[str]]:
    """The columns that must be there, by setting; an id column only where the recipe names one."""
    named = [spec.id_column] if spec.id_column and "id_column" in spec.model_fields_set else []
    return text_columns(spec) | {"id_column": named}


def needed_columns(spec: SourceSpec, names: Sequence[str]) -> list[str]:
    """Those of a table's columns that a source needs, in the table's order."""
    texts = [path for paths in text_columns(spec).values() for path in paths]
    paths = [*texts, *spec.where, *([spec.id_column] if spec.id_column else [])]
    wanted = {top_column(path, names) for path in paths}
    return [name for name in names if name in wanted]


def top_column(path: str, names: Sequence[str]) -> str:
    """The column of a table in which a path begins."""
    return path if path in names else path.split(".")[0]


def is_wanted(record: Record, spec: SourceSpec) -> bool:
    """Whether each column of `where` holds one of its values; values that are not text are compared as JSON."""
    return all(
        any(_as_words(value) in values for value in _values(record, path)) for path, values in spec.where.items()
    )


def row_id(record: Record, spec: SourceSpec) -> str | None:
    """The id of a row, None where it has none."""
    values = [value for value in _values(record, spec.id_column) if value is not None] if spec.id_column else []
    return "/".join(map(_as_words, values)) or None


def segments(record: Record, spec: SourceSpec) -> tuple[str, ...]:
    """The segments of a document, those without a word left out; one, joined by empty lines, for a text column.

    Raises:
        NotText: a value is neither a text, nor null, nor a list of these.
    """
    try:
        texts = [text for paths in text_columns(spec).values() for path in paths for text in _texts(record, path)]
    except RecursionError:
        raise NotText("a list that is nested too deep") from None
    if spec.segment_columns is not None or len(texts) < 2:
        return tuple(texts)
    return ("\n\n".join(texts),)


def _texts(record: Record, path: str) -> Iterator[str]:
    for value in _values(record, path):
        if value is None:
            continue
        if not isinstance(value, str):
            raise NotText(type(value).__name__)
        if value and not value.isspace():
            yield value


def _values(record: Record, path: str) -> Iterator[Any]:
    yield from _walk(record[path], []) if path in record else _walk(record, path.split("."))


def _walk(value: Any, fields: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, fields)
    elif not fields:
        yield value
    elif isinstance(value, dict) and fields[0] in value:
        yield from _walk(value[fields[0]], fields[1:])


def _as_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
