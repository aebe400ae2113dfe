"""Read rows of text from Parquet and JSON Lines files.

Rows come in the order of file names and of rows within a file, so a source reads the same everywhere. One file's
batch of rows is in memory at a time.
"""

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.cache import remembered_sha256
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError

_BATCH_ROWS = 1024
_ENDINGS = (".parquet", ".jsonl")


@dataclass(frozen=True)
class RawRow:
    """A row as read: its number within the source, its id and text (None where the row has none)."""

    row: int
    row_id: str | None
    text: str | None
    where: str


def local_path(path: str) -> Path:
    """A path of a recipe on this machine; `samples://x` is file x of the package's samples."""
    if path.startswith("samples://"):
        return Path(str(resources.files("rcpt_ray") / "samples" / path.removeprefix("samples://")))
    return Path(os.path.expanduser(path))


def list_files(setting: str, path: str) -> list[Path]:
    """The files that a path, folder or glob names, in order; UserError names the setting if there are none."""
    place = local_path(path)
    if place.is_dir():
        found = [file for ending in _ENDINGS for file in place.rglob(f"*{ending}")]
    else:
        found = [place, *map(Path, glob.glob(str(place), recursive=True))]
    files = sorted({file for file in found if file.is_file()})
    if not files:
        raise UserError(f"{setting}={path} names no file; give a file, folder or glob of .parquet or .jsonl files")
    for file in files:
        if file.suffix not in _ENDINGS:
            raise UserError(f"{setting}={path}: {file.name} is neither .parquet nor .jsonl; convert it or leave it out")
    return files


def digest_files(files: list[Path]) -> str:
    """sha256 over the contents of files in order: what a stage that reads them depends on."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(bytes.fromhex(remembered_sha256(file)))
    return whole.hexdigest()


def read_source(name: str, spec: SourceSpec) -> Iterator[RawRow]:
    """Rows of a source, at most `spec.max_documents` of them; a later row without the text column has no text."""
    row = 0
    for file in list_files(f"corpus.sources.{name}.path", spec.path):
        for number, (record, where) in enumerate(read_records(file, _columns(spec))):
            if row == spec.max_documents:
                return
            if spec.text_column not in record and number == 0:
                raise UserError(
                    f"corpus.sources.{name}.text_column={spec.text_column} is not in {where}, which has "
                    f"{', '.join(map(str, record)) or 'no columns'}; name the column that holds the text"
                )
            text, row_id = record.get(spec.text_column), record.get(spec.id_column) if spec.id_column else None
            if text is not None and not isinstance(text, str):
                raise UserError(f"corpus.sources.{name}: {where} has a text of type {type(text).__name__}; give text")
            yield RawRow(row, None if row_id is None else str(row_id), text, where)
            row += 1


def read_records(file: Path, columns: list[str] | None = None) -> Iterator[tuple[dict[str, Any], str]]:
    """Records of a .parquet or .jsonl file, each with the words that say where it stands."""
    return _read_parquet(file, columns) if file.suffix == ".parquet" else _read_jsonl(file)


def _columns(spec: SourceSpec) -> list[str]:
    return [spec.text_column, *([spec.id_column] if spec.id_column else [])]


def _read_parquet(file: Path, columns: list[str] | None) -> Iterator[tuple[dict[str, Any], str]]:
    number = 0
    try:
        with pq.ParquetFile(file) as parquet:
            present = parquet.schema_arrow.names
            wanted = [name for name in present if name in columns] if columns else present
            if columns and columns[0] not in present:
                yield dict.fromkeys(present), f"{file} row 0"
                return
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=wanted):
                for record in batch.to_pylist():
                    yield record, f"{file} row {number}"
                    number += 1
    except UnicodeDecodeError:
        raise UserError(f"{file} near row {number} is not UTF-8; convert the file to UTF-8") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({str(error).splitlines()[0]}); write it again") from None


def _read_jsonl(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{file} line {number}"
            try:
                record = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError:
                raise UserError(f"{where} is not UTF-8; convert the file to UTF-8") from None
            except json.JSONDecodeError as error:
                raise UserError(f"{where} is not JSON ({error.msg}); mend or remove the line") from None
            if b"\\u" in line and not _is_unicode(record):
                raise UserError(f"{where} is not UTF-8: it escapes half of a surrogate pair; mend or remove the line")
            if not isinstance(record, dict):
                raise UserError(f"{where} is not a JSON object; each line must be an object with a text")
            yield record, where


def _is_unicode(record: Any) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
