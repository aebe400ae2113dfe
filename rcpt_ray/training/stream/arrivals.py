"""From a shard's texts, or its finished part of thoughts, to tokenized documents on disk: select, lay out, tokenize.

    tokens/tokens-<item>.arrow    documents by component (mixture.candidates.TOKENS)
    tokens/arrived-<item>.json    written after it: what arrived, and why the others did not

The second is never there without the first, not even after a loss of power.

An item that has been done is not done again, whatever has become of its part since: so a training that is taken up
again sees the same documents. Price: the tokens wait on disk, 5 bytes each, until the training has ended.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import make_durable, write_atomic, write_table
from rcpt_ray.mixture.candidates import Group, tokenize_group
from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.select import Selection
from rcpt_ray.training.stream.running_blend import Arrival
from rcpt_ray.training.stream.work import Item, StreamWork


@dataclass(frozen=True)
class Arrived:
    """What an item brought."""

    kind: str
    shard: str
    num_candidates: dict[str, int]
    """Documents by component."""
    rejected: dict[str, int]
    """Documents of components that need a thought and have none, by the reason in the selection."""
    num_thoughts: int = 0
    num_refused: int = 0
    """Thoughts that the engine rejected."""


class Arrivals:
    """Makes items arrive."""

    def __init__(self, work: StreamWork) -> None:
        self._work = work
        self._selection: Selection | None = None

    def make(self, item: Item, part: str | None) -> Arrived:
        """Tokenize an item; `part` is the file of its thoughts."""
        found = read_arrived(self._work, item)
        if found is not None:
            return found
        work, folder = self._work, self._work.tokens_folder
        folder.mkdir(parents=True, exist_ok=True)
        components = work.components_of(item.kind)
        generated = pq.read_table(work.thoughts_folder / part).to_pylist() if part is not None else []
        rows, written = self._selected(generated), {}
        if part is not None:
            selected = folder / f"selected-{item.id}.parquet"
            write_table(selected, pa.Table.from_pylist(rows, schema=THOUGHT))
            written["thought"] = (str(selected),)
        group = Group(item.id, (str(work.shard_file(item.shard)),), written)
        tokenized = tokenize_group(group, components, work.mixture, work.plan.seed, work.tokenizer, folder)
        rejected = _reasons(rows, {component.name: component.source for component in components})
        assert rejected.total() == sum(tokenized.num_without.values()), "a document has neither thought nor reason"
        arrived = Arrived(
            item.kind,
            item.shard,
            tokenized.num_candidates,
            dict(rejected),
            len(generated),
            sum(row["status"] != "ok" for row in generated),
        )
        make_durable(tokens_file(work, item), folder)
        write_atomic(_file(work, item), json.dumps(asdict(arrived)), durable=True)
        return arrived

    def _selected(self, generated: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not generated:
            return []
        self._selection = self._selection or self._work.make_selection()
        return self._selection.rows(generated)


def read_arrived(work: StreamWork, item: Item) -> Arrived | None:
    """What an item brought, None before it has been tokenized."""
    try:
        return Arrived(**json.loads(_file(work, item).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def documents_of(work: StreamWork, item: Item) -> list[Arrival]:
    """The documents of an item that has arrived, in their order."""
    file = tokens_file(work, item)
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
        names, doc_ids, sizes = (table[name].to_pylist() for name in ("component", "doc_id", "num_tokens"))
    return [
        Arrival(*values, file=file.name, row=row) for row, values in enumerate(zip(names, doc_ids, sizes, strict=True))
    ]


def tokens_file(work: StreamWork, item: Item) -> Path:
    """Where an item's tokens stand."""
    return work.tokens_folder / f"tokens-{item.id}.arrow"


def _file(work: StreamWork, item: Item) -> Path:
    return work.tokens_folder / f"arrived-{item.id}.json"


def _reasons(rows: list[dict[str, Any]], sources: dict[str, str]) -> Counter[str]:
    """Why documents have no thought: the reason of the first of their samples, once for each component."""
    kept = {row["doc_id"] for row in rows if row["status"] == "ok"}
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["doc_id"] not in kept:
            first.setdefault(row["doc_id"], row)
    reasons = Counter[str]()
    for row in first.values():
        reasons[row["reason"]] += sum(source == row["source"] for source in sources.values())
    return +reasons
