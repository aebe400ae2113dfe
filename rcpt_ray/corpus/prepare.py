"""The corpus stage: read, filter, deduplicate, split, and write deterministic shards.

Invariants: every row read is either in a shard or in the rejections with its reason; ids are unique; held-out
documents are in files of their own. A shard holds documents of one source in reading order, so adding a source
changes no other shard. Price: one shard and 32 bytes a document in memory.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import Counts, Outcome, remove_parts, write_table
from rcpt_ray.corpus.deduplicate import SeenTexts
from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.corpus.filter import count_words, reason_to_reject
from rcpt_ray.corpus.read import RawRow, digest_files, list_files, read_source
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.corpus.split import is_heldout
from rcpt_ray.errors import UserError
from rcpt_ray.records import DOCUMENT_REJECTION


def input_digests(spec: CorpusSpec) -> dict[str, str]:
    """Digest of each source's files; UserError if a source names no file."""
    return {
        name: digest_files(list_files(f"corpus.sources.{name}.path", source.path))
        for name, source in spec.sources.items()
    }


def prepare(spec: CorpusSpec, seed: int, folder: Path, advance: Callable[[int], None]) -> Outcome:
    """Write the shards of all sources into `folder`.

    Raises:
        UserError: a file cannot be read, a row has no text, or no document is left to train on.
    """
    remove_parts(folder)
    rejected: Counter[str] = Counter()
    num_words = {"train": 0, "heldout": 0}
    writer = _ShardWriter(folder, spec.shard_documents)
    seen_texts, seen_ids, num_in = SeenTexts(), set[str](), 0
    for name, source in spec.sources.items():
        num_in_source = 0
        for raw in read_source(name, source):
            num_in += 1
            num_in_source += 1
            advance(1)
            words = count_words(raw.text or "")
            reason = "no_text" if not words else reason_to_reject(words, spec)
            if reason == "no_text" and spec.bad_rows == "fail":
                raise UserError(f"{raw.where} has no text; remove the row or set corpus.bad_rows=reject")
            doc_id = _document_id(name, raw)
            if reason is None and doc_id in seen_ids:
                reason = "duplicate_text" if raw.row_id is None else "duplicate_id"
            if reason is None and not seen_texts.is_new(raw.text or ""):
                reason = "duplicate_text"
            if reason is not None:
                rejected[reason] += 1
                writer.add("rejected", name, {"source": name, "row": raw.row, "doc_id": doc_id, "reason": reason})
                continue
            seen_ids.add(doc_id)
            split = "heldout" if is_heldout(doc_id, spec.heldout_share, seed) else "train"
            num_words[split] += words
            document = {"doc_id": doc_id, "source": name, "domain": source.domain, "text": raw.text}
            writer.add(split, name, document | {"num_words": words})
        if not num_in_source:
            raise UserError(
                f"corpus.sources.{name}.path={source.path} holds no rows; give files with at least one document"
            )
    writer.close()
    if not writer.num_rows["train"]:
        raise UserError(
            f"corpus: none of {num_in} documents is left to train on ({dict(rejected) or 'all are held out'}); "
            "widen min_words..max_words or lower heldout_share"
        )
    num_ok = writer.num_rows["train"] + writer.num_rows["heldout"]
    return Outcome(
        counts=Counts(unit="document", num_in=num_in, num_ok=num_ok, rejected=dict(sorted(rejected.items()))),
        details={
            "num_train": writer.num_rows["train"],
            "num_heldout": writer.num_rows["heldout"],
            "num_train_words": num_words["train"],
            "num_heldout_words": num_words["heldout"],
        },
    )


def _document_id(source: str, raw: RawRow) -> str:
    own = raw.row_id
    if own is None:
        own = hashlib.sha256((raw.text or f"row {raw.row}").encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{source}/{own}"


class _ShardWriter:
    """Collects rows by split and source, and writes a part file whenever one is full."""

    def __init__(self, folder: Path, shard_documents: int) -> None:
        self._folder, self._size = folder, shard_documents
        self._open: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._parts: Counter[tuple[str, str]] = Counter()
        self.num_rows: Counter[str] = Counter()

    def add(self, split: str, source: str, row: dict[str, Any]) -> None:
        rows = self._open.setdefault((split, source), [])
        rows.append(row)
        self.num_rows[split] += 1
        if len(rows) == self._size:
            self._flush((split, source))

    def close(self) -> None:
        for key in list(self._open):
            self._flush(key)

    def _flush(self, key: tuple[str, str]) -> None:
        rows = self._open.pop(key)
        schema = DOCUMENT_REJECTION if key[0] == "rejected" else documents_schema(rows)
        source_digest = hashlib.sha256(key[1].encode()).hexdigest()[:8]
        name = f"part-{key[0]}-{source_digest}-{self._parts[key]:06d}.parquet"
        self._parts[key] += 1
        write_table(self._folder / name, pa.Table.from_pylist(rows, schema=schema))
