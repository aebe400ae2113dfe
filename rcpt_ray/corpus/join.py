"""Joining the pieces of a corpus: the shards of the documents that stay, and the list of those that do not.

A shard holds documents of one source in reading order, so a source that comes after others changes none of their
shards. Price: one batch of texts and the open shards.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rcpt_ray.corpus.repeats import Repeat, Repeats
from rcpt_ray.corpus.shards import ShardWriter
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.corpus.split import is_heldout
from rcpt_ray.corpus.work import Done


@dataclass
class Joined:
    """What became of all documents or passages."""

    num_in: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    num_words: Counter[str] = field(default_factory=Counter)
    """By split: train, replay, heldout."""
    by_source: dict[str, Counter[str]] = field(default_factory=dict)
    """Of each source: documents read, by split, and left out by reason."""


def write_shards(
    pieces: Sequence[tuple[str, Done]],
    left_out: Sequence[dict[int, Repeat]],
    repeats: Repeats,
    spec: CorpusSpec,
    seed: int,
    work: Path,
    folder: Path,
) -> Joined:
    """Write the documents that stay, and the rejections; pieces come as (source, receipt) in reading order."""
    joined, writer = Joined(), ShardWriter(folder, spec.shard_documents)
    repeated: dict[int, str] = dict.fromkeys(repeats.repeated, "")
    first_row: Counter[str] = Counter()
    number = 0  # of the document among those that no piece rejected
    for (source, piece), gone in zip(pieces, left_out, strict=True):
        settings, own = spec.sources[source], joined.by_source.setdefault(source, Counter())
        for row in _rows(work / f"{piece.piece}.parquet"):
            joined.num_in += 1
            own["in"] += 1
            reason, detail = row["reason"], row["detail"]
            if reason is None:
                if number in repeated:
                    repeated[number] = row["doc_id"]
                if (whole := gone.get(row["row"])) is not None:
                    reason, detail = whole.reason, whole.of
                else:
                    reason = repeats.reason(number, row["has_own_id"])
                    detail = repeated.get(int(repeats.of_N[number]), "")
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


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(1024):
            yield from batch.to_pylist()
