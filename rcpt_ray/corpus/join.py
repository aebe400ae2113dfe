"""Joining the pieces of a corpus: which documents repeat others, and the shards of those that stay.

Duplicates are judged in reading order: of equal ids, equal texts and near duplicates the first one stays. A shard holds
documents of one source in reading order, so a source that comes after others changes none of their shards. Price: 32
bytes a document for exact duplicates, then what near_duplicates.py says for near ones, with the signatures on disk; the
texts of one piece.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rcpt_ray.corpus.duplicates import REASONS, digests_array, exact_duplicates
from rcpt_ray.corpus.near_duplicates import near_duplicates
from rcpt_ray.corpus.shards import ShardWriter
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.corpus.split import is_heldout
from rcpt_ray.corpus.work import Done


@dataclass(frozen=True)
class Repeats:
    """Of N documents, in reading order, that no piece rejected: which repeat others."""

    reason_N: npt.NDArray[np.int8]
    """An index into duplicates.REASONS."""
    of_N: npt.NDArray[np.int64]
    """The document that a near duplicate repeats, else -1."""


@dataclass
class Joined:
    """What became of all documents."""

    num_in: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    num_words: Counter[str] = field(default_factory=Counter)
    """By split: train, replay, heldout."""
    by_source: dict[str, Counter[str]] = field(default_factory=dict)
    """Of each source: documents read, by split, and left out by reason."""


def find_repeats(pieces: Sequence[Done], spec: CorpusSpec, work: Path) -> Repeats:
    """The duplicates among the documents of all pieces."""
    ids, texts = bytearray(), bytearray()
    for piece in pieces:
        table = pq.read_table(work / f"{piece.piece}.parquet", columns=["reason", "id_digest", "text_digest"])
        table = table.filter(pc.is_null(table["reason"]))
        ids += b"".join(table["id_digest"].to_pylist())
        texts += b"".join(table["text_digest"].to_pylist())
    reason_N = exact_duplicates(digests_array(bytes(ids)), digests_array(bytes(texts)))
    del ids, texts
    of_N = np.full(len(reason_N), -1, np.int64)
    if spec.near_duplicates is not None and len(reason_N):
        file = work / "all.signatures"
        with file.open("wb") as whole:
            for piece in pieces:
                if piece.num_kept:
                    whole.write((work / f"{piece.piece}.signatures").read_bytes())
        signatures_NH = np.memmap(file, np.uint16, "r").reshape(len(reason_N), -1)
        of_N = near_duplicates(signatures_NH, spec.near_duplicates, reason_N != 0)
        file.unlink()
    return Repeats(reason_N, of_N)


def write_shards(
    pieces: Iterable[tuple[str, Done]], repeats: Repeats, spec: CorpusSpec, seed: int, work: Path, folder: Path
) -> Joined:
    """Write the documents that stay, and the rejections; pieces come as (source, receipt) in reading order."""
    joined, writer = Joined(), ShardWriter(folder, spec.shard_documents)
    repeated: dict[int, str] = dict.fromkeys(repeats.of_N[repeats.of_N >= 0].tolist(), "")
    first_row: Counter[str] = Counter()
    number = 0  # of the document among those that no piece rejected
    for source, piece in pieces:
        settings, own = spec.sources[source], joined.by_source.setdefault(source, Counter())
        for row in _rows(work / f"{piece.piece}.parquet"):
            joined.num_in += 1
            own["in"] += 1
            reason, detail = row["reason"], row["detail"]
            if reason is None:
                reason, detail = _repeat(repeats, number, repeated)
                if reason == "duplicate_id" and not row["has_own_id"]:
                    reason = "duplicate_text"  # its id is made of its text
                if number in repeated:
                    repeated[number] = row["doc_id"]
                number += 1
            if reason is not None:
                joined.rejected[reason] += 1
                own[reason] += 1
                rejection = {"source": source, "row": first_row[source] + row["row"], "doc_id": row["doc_id"]}
                writer.add("rejected", source, rejection | {"reason": reason, "detail": detail})
                continue
            split = "replay" if settings.role == "replay" else "train"
            if is_heldout(row["heldout_key"], spec.heldout_share, seed):
                split = "heldout"
            joined.num_words[split] += row["num_words"]
            own[split] += 1
            document = {name: row[name] for name in ("doc_id", "text", "segment_ends", "num_words")}
            writer.add(split, source, document | {"source": source, "domain": settings.domain})
        first_row[source] += piece.num_rows
    writer.close()
    return joined


def _repeat(repeats: Repeats, number: int, repeated: dict[int, str]) -> tuple[str | None, str]:
    if (reason := REASONS[repeats.reason_N[number]]) is not None:
        return reason, ""
    of = int(repeats.of_N[number])
    return ("near_duplicate", repeated[of]) if of >= 0 else (None, "")


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(1024):
            yield from batch.to_pylist()
