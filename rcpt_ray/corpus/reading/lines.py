"""Records of JSON Lines, .json and text files, packed or not. Memory: a line, or a whole .json or text file."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from rcpt_ray.corpus.reading.files import SourceFile, format_of, is_unicode
from rcpt_ray.corpus.reading.object_store import first_words
from rcpt_ray.corpus.reading.stretch import Found, Stretch, unreadable

_LOCAL_BUFFER, _REMOTE_BUFFER = 256 * 1024, 4 * 1024 * 1024
_MOST_LINE_BYTES, _MOST_FILE_BYTES = 2**28, 2**30
"""Of unpacked text that is taken into memory at once: a packed file of a few bytes can hold any number of them."""
_UNPACKED_BUFFER = 16 * 1024  # what is in it when a file turns out to be cut off is lost with the rest


def _stream(file: SourceFile, start: int = 0) -> io.BufferedReader:
    """The bytes of a file from `start`, unpacked; stores are asked for 4 MB at a time."""
    raw = file.open()
    raw.seek(start)
    size = _REMOTE_BUFFER if file.is_remote else _LOCAL_BUFFER
    stream = pa.BufferedInputStream(raw, size)
    compression = format_of(file.name)[1]
    return io.BufferedReader(pa.CompressedInputStream(stream, compression) if compression else stream, _UNPACKED_BUFFER)


def lines(stretch: Stretch) -> Iterator[tuple[str, bytes] | Found]:
    """The lines of a stretch that are not empty, each with the words for where it stands."""
    file, number, place = stretch.file, 0, stretch.start
    after = f" after byte {place}" if place else ""
    try:
        with _stream(file, max(0, place - 1)) as stream:
            if place:
                place += len(stream.readline()) - 1
            while stretch.end is None or place < stretch.end:
                line = stream.readline(_MOST_LINE_BYTES + 1)
                if not line:
                    return
                if len(line) > _MOST_LINE_BYTES:
                    raise pa.ArrowInvalid(f"a line is longer than {_MOST_LINE_BYTES:,} bytes")
                number, place = number + 1, place + len(line)
                if line.strip():
                    yield f"{file.path} line {number}{after}", line
    except (pa.ArrowException, OSError) as error:
        yield unreadable(file, error, number, "lines")


def scan_lines(stretch: Stretch) -> Iterator[Found]:
    """The records of JSON Lines, an object a line."""
    for line in lines(stretch):
        yield line if isinstance(line, Found) else _parse(*line)


def _parse(where: str, line: bytes) -> Found:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Found(where, {}, "not_utf8", f"{where} is not UTF-8; convert the file to UTF-8")
    except (ValueError, RecursionError) as error:
        words = getattr(error, "msg", first_words(error))
        return Found(where, {}, "not_json", f"{where} is not JSON ({words}); mend or remove the line")
    return _checked(where, record, b"\\u" in line)


def _checked(where: str, record: Any, may_hold_halves: bool) -> Found:
    try:
        has_halves = may_hold_halves and not is_unicode(json.dumps(record, ensure_ascii=False))
    except (ValueError, RecursionError) as error:
        return Found(where, {}, "not_json", f"{where} is not JSON ({first_words(error)}); mend or remove the line")
    if has_halves:
        said = f"{where} is not UTF-8: it escapes half of a surrogate pair; mend or remove the line"
        return Found(where, {}, "not_utf8", said)
    if not isinstance(record, dict):
        said = f"{where} is not a JSON object; each line must be an object with a text"
        return Found(where, {}, "not_json", said)
    return Found(where, record)


def scan_json(stretch: Stretch) -> Iterator[Found]:
    """One array or one object; or, as .json files often are, an object a line."""
    first = next(lines(stretch), None)
    if first is None:
        return
    if not isinstance(first, Found) and _parse(*first).problem is None:
        yield from scan_lines(stretch)
        return
    found = whole_text(stretch.file)
    if found.problem:
        yield found
        return
    try:
        value = json.loads(found.record["text"])
    except (ValueError, RecursionError) as error:
        words = getattr(error, "msg", first_words(error))
        said = f"{stretch.file.path} is not JSON ({words}); mend the file or leave it out"
        yield Found(found.where, {}, "not_json", said)
        return
    for number, record in enumerate(value if isinstance(value, list) else [value]):
        yield _checked(f"{stretch.file.path} row {number}", record, True)


def whole_text(file: SourceFile) -> Found:
    """A text file as one record: id (its path within the folder) and text."""
    try:
        with _stream(file) as stream:
            content = stream.read(_MOST_FILE_BYTES + 1)
        if len(content) > _MOST_FILE_BYTES:
            raise pa.ArrowInvalid(f"it holds more than {_MOST_FILE_BYTES:,} bytes")
    except (pa.ArrowException, OSError) as error:
        return unreadable(file, error, 0, "bytes")
    try:
        return Found(file.path, {"id": file.inside, "text": content.decode("utf-8-sig")})
    except UnicodeDecodeError:
        return Found(file.path, {}, "not_utf8", f"{file.path} is not UTF-8; convert the file to UTF-8")
