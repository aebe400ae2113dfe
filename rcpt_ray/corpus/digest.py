"""The digest of a shard: what its documents say, whatever the file is called; kept in the file's own metadata.

Price: making it reads every text once, when the shard is written; later a stage reads the file's footer alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.records import DOCUMENT

_KEY = b"rcpt_digest"
_COVERED = ("doc_id", "domain", "text", "segment_ends")


def digest_of(documents: Iterable[tuple[str, str, str, Sequence[int]]]) -> str:
    """16 hex digits over id, domain, text and segment ends of documents, in order."""
    content = hashlib.sha256()
    for doc_id, domain, text, segment_ends in documents:
        ends = f"{segment_ends} " if segment_ends else ""
        head = f"{ends}{len(doc_id)} {len(domain)} {len(text)} {doc_id}{domain}"
        content.update(f"{head}{text}".encode("utf-8", "surrogatepass"))
    return content.hexdigest()[:16]


def documents_schema(rows: Sequence[dict[str, Any]]) -> pa.Schema:
    """The schema of documents with the digest of these rows."""
    digest = digest_of(tuple(row[name] for name in _COVERED) for row in rows)
    return DOCUMENT.with_metadata({_KEY: digest.encode()})


def shard_digest(shard: Path) -> str:
    """The digest of a shard, from its metadata or, where a file has none, from its rows."""
    kept = (pq.read_schema(shard).metadata or {}).get(_KEY)
    if kept is not None:
        return str(kept.decode())
    columns = pq.read_table(shard, columns=list(_COVERED))
    return digest_of(zip(*(column.to_pylist() for column in columns.columns), strict=True))
