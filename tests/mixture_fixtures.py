"""A tokenizer of characters, and shards with thoughts, for tests of mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.mixture.mix import MixtureInput
from rcpt_ray.mixture.tokenize import TextTokenizer
from rcpt_ray.records import THOUGHT
from rcpt_ray.terminal import Bar


def encode_characters(texts: list[str]) -> list[list[int]]:
    """A token a character: its code point + 10."""
    return [[ord(character) + 10 for character in text] for text in texts]


CHARACTERS = TextTokenizer(encode_characters, start_id=1, end_id=2)


def quiet_bar() -> Bar:
    """A bar that shows nothing."""
    return Bar(Console(quiet=True), "test", None)


def read_characters(ids: Any) -> str:
    """The inverse, without control tokens."""
    return "".join(chr(token - 10) for token in ids if token >= 10)


@dataclass(frozen=True)
class Text:
    """A document of a test."""

    doc_id: str
    source: str
    text: str
    thought: str | None
    segment_ends: tuple[int, ...] = ()


def texts(with_thought: int = 30, without: int = 5) -> list[Text]:
    """Documents of two sources, stem twice as long as law; the last ones have no thought."""
    found = []
    for source, num_words in (("stem", 40), ("law", 20)):
        for number in range(with_thought + without):
            text = f"{source} {number} " + "word " * (num_words + number % 7)
            thought = f"why {source} {number} " + "hmm " * (10 + number % 5) if number < with_thought else None
            found.append(Text(f"{source}/{number}", source, text, thought))
    return found


def write_shards(
    folder: Path, documents: Sequence[Text], replay_sources: Sequence[str] = (), shard_documents: int = 8
) -> MixtureInput:
    """The documents as shards, their thoughts as parts; a thought of another sample stands rejected beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    shards, parts = list[tuple[str, Path]](), dict[str, Path]()
    for number, first in enumerate(range(0, len(documents), shard_documents)):
        own = documents[first : first + shard_documents]
        rows = [
            {
                "doc_id": each.doc_id,
                "source": each.source,
                "domain": each.source,
                "text": each.text,
                "segment_ends": list(each.segment_ends),
                "num_words": len(each.text.split()),
            }
            for each in own
        ]
        shard, digest = folder / f"part-train-{number:06d}.parquet", f"{number:016x}"
        pq.write_table(pa.Table.from_pylist(rows, schema=documents_schema(rows)), shard)
        thoughts = [
            {"doc_id": each.doc_id, "thought": thought, "status": status}
            for each in own
            if each.thought is not None
            for thought, status in (("not chosen", "rejected"), (each.thought, "ok"))
        ]
        parts[digest] = folder / f"part-{digest}-0.parquet"
        pq.write_table(pa.Table.from_pylist(thoughts, schema=THOUGHT), parts[digest])
        shards.append((digest, shard))
    sources = list(dict.fromkeys(each.source for each in documents))
    return MixtureInput(
        shards,
        [s for s in sources if s not in replay_sources],
        [s for s in sources if s in replay_sources],
        parts,
        parts,
    )


def packed(folder: Path) -> list[dict[str, Any]]:
    """All rows of a mixture."""
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def packed_documents(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(doc_id, characters) of each document in packed rows, control tokens left out."""
    found = []
    for row in rows:
        segments = np.array(row["segment_id"])
        for segment, doc_id in enumerate(row["doc_ids"]):
            found.append((doc_id, read_characters(np.array(row["input_ids"])[segments == segment])))
    return found
