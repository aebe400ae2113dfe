"""Shards: part files of so many documents of one source and split, and of what was left out."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import write_table
from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.records import DOCUMENT_REJECTION


class ShardWriter:
    """Collects rows by split and source, and writes a part file whenever one is full."""

    def __init__(self, folder: Path, shard_documents: int) -> None:
        self._folder, self._size = folder, shard_documents
        self._open: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._parts: Counter[tuple[str, str]] = Counter()

    def add(self, split: str, source: str, row: dict[str, Any]) -> None:
        """Take a document of a split (train, replay, heldout), or a rejection."""
        rows = self._open.setdefault((split, source), [])
        rows.append(row)
        if len(rows) == self._size:
            self._flush((split, source))

    def close(self) -> None:
        """Write what is left."""
        for key in list(self._open):
            self._flush(key)

    def _flush(self, key: tuple[str, str]) -> None:
        rows = self._open.pop(key)
        schema = DOCUMENT_REJECTION if key[0] == "rejected" else documents_schema(rows)
        source_digest = hashlib.sha256(key[1].encode()).hexdigest()[:8]
        name = f"part-{key[0]}-{source_digest}-{self._parts[key]:06d}.parquet"
        self._parts[key] += 1
        write_table(self._folder / name, pa.Table.from_pylist(rows, schema=schema))
