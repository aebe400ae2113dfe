"""Documents of a few shards as tokens: each component's candidates, in a file that windows are later read from.

    tokens-<group>.arrow         rows (TOKENS), sorted by `order`
    candidates-<group>.parquet   of the same rows component, draw and num_tokens: what the driver looks at

`draw` orders the candidates of a component among themselves and decides which are drawn (blend.py); `order` is their
place in the training (window.py), where the forms of a document stand apart by a shift of their component's. Both are
hashes of seed, source and id, so they do not depend on shards or workers. Price: the tokens of one group of shards in
memory.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import write_atomic, write_table
from rcpt_ray.corpus.split import names_digest
from rcpt_ray.mixture.layout import Segment, delimiters_of, lay_out
from rcpt_ray.mixture.spec import Layout, MixtureSpec
from rcpt_ray.mixture.tokenize import TextTokenizer, TokenizedDocuments, tokenize_documents

TOKENS = pa.schema(
    [
        ("component", pa.string()),
        ("doc_id", pa.string()),
        ("draw", pa.uint64()),
        ("order", pa.uint64()),
        ("num_tokens", pa.int32()),
        ("ids", pa.list_(pa.int32())),
        ("run_kinds", pa.list_(pa.int8())),
        ("run_lengths", pa.list_(pa.int32())),
    ]
)
"""A tokenized candidate; its kinds are runs of tokens of one kind."""


@dataclass(frozen=True)
class Component:
    """Documents of a source in one form."""

    name: str
    source: str
    needs: str | None
    """thought or paraphrase: a document without one takes no part; None takes all."""
    layout: Layout

    @property
    def writes(self) -> str | None:
        """What is laid out with the text: thought, paraphrase or nothing."""
        if self.layout == "text_only":
            return None
        return "paraphrase" if self.layout == "paraphrase" else "thought"


@dataclass(frozen=True)
class Group:
    """Shards that are tokenized together, each with the parts of thoughts and paraphrases about it."""

    id: str
    """By what its shards hold: a name for files."""
    shards: tuple[str, ...]
    written: Mapping[str, tuple[str | None, ...]]
    """thought, paraphrase -> a part for each shard, None where there is none."""


@dataclass(frozen=True)
class Tokenized:
    """What became of a group: the documents of each component."""

    group: str
    num_candidates: dict[str, int]
    num_without: dict[str, int]
    """Documents left out for want of a thought or paraphrase."""


def component_of(name: str, spec: MixtureSpec) -> Component:
    """The component of a name `source/kind`."""
    source, _, kind = name.rpartition("/")
    writes = "paraphrase" if spec.layout == "paraphrase" else "thought"
    with_thought = writes if spec.documents == "with_thought" else None
    match kind:
        case "raw":
            return Component(name, source, with_thought, "text_only")
        case "replay":
            return Component(name, source, None, "text_only")
        case "paraphrase":
            return Component(name, source, "paraphrase", "paraphrase")
        case _:
            return Component(name, source, "thought", spec.layout)


def tokenize_group(
    group: Group,
    components: Sequence[Component],
    spec: MixtureSpec,
    seed: int,
    tokenizer: TextTokenizer,
    folder: Path,
) -> Tokenized:
    """Write the candidates of a group's shards into `folder`."""
    opening, closing = delimiters_of(spec)
    laid_out: list[list[Segment]] = []
    rows: list[tuple[str, str, int, int]] = []
    num_without: Counter[str] = Counter()
    of_source: dict[str, list[tuple[Component, int]]] = {}
    for component in components:
        of_source.setdefault(component.source, []).append((component, _hashes(seed, component.name)[0]))
    for doc_id, source, segments, written in _documents(group):
        if source not in of_source:
            continue
        draw, order = _hashes(seed, source, doc_id)
        for component, shift in of_source[source]:
            if component.needs is not None and component.needs not in written:
                num_without[component.name] += 1
                continue
            rows.append((component.name, doc_id, draw, (order + shift) % 2**64))
            text = written.get(component.writes) if component.writes else None
            laid_out.append(lay_out(segments, text, component.layout, opening, closing))
    table = _table(rows, tokenize_documents(laid_out, tokenizer))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, TOKENS) as writer:
        writer.write_table(table)
    write_atomic(folder / f"tokens-{group.id}.arrow", bytes(sink.getvalue()))
    write_table(folder / f"candidates-{group.id}.parquet", table.select(["component", "draw", "num_tokens"]))
    return Tokenized(group.id, dict(Counter(row[0] for row in rows)), dict(num_without))


def _documents(group: Group) -> Iterator[tuple[str, str, list[str], dict[str, str]]]:
    """Id, source and segments of documents, with what was written about them."""
    for place, shard in enumerate(group.shards):
        written: dict[str, dict[str, str]] = {}
        for kind, parts in group.written.items():
            if (part := parts[place]) is not None:
                table = pq.read_table(part, columns=["doc_id", "thought"], filters=[("status", "==", "ok")])
                for doc_id, text in zip(table["doc_id"].to_pylist(), table["thought"].to_pylist(), strict=True):
                    written.setdefault(doc_id, {})[kind] = text
        # A shard is small: a table of it is read sooner without a dataset around it and without threads.
        columns = ["doc_id", "source", "text", "segment_ends"]
        table = pq.ParquetFile(shard).read(columns=columns, use_threads=False).select(columns)
        for doc_id, source, text, ends in zip(*(column.to_pylist() for column in table.columns), strict=True):
            segments = [text[start:end] for start, end in pairwise([0, *ends])] if ends else [text]
            yield doc_id, source, segments, written.get(doc_id, {})


def _hashes(*names: object) -> tuple[int, int]:
    """Two numbers below 2^64 that depend on the names alone."""
    draw, order = struct.unpack(">QQ", names_digest(16, *names))
    return draw, order


def _table(rows: Sequence[tuple[str, str, int, int]], documents: TokenizedDocuments) -> pa.Table:
    def lists(values: Any, ends: Any) -> pa.ListArray:
        return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), pa.array(values))

    names, doc_ids, draws, orders = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = [
        pa.array(names, pa.string()),
        pa.array(doc_ids, pa.string()),
        pa.array(draws, pa.uint64()),
        pa.array(orders, pa.uint64()),
        pa.array(np.diff(documents.ends_D, prepend=0), pa.int32()),
        lists(documents.ids_N, documents.ends_D),
        lists(documents.run_kinds_R, documents.run_ends_D),
        lists(documents.run_lengths_R, documents.run_ends_D),
    ]
    table = pa.table(columns, schema=TOKENS)
    return table.take(pa.array(np.argsort(np.array(orders, np.uint64), kind="stable")))
