"""The mixture stage: documents and their thoughts -> blend by tokens -> packed rows.

Counts are in documents of a component: in = drawn + not drawn (or without a thought). Price: all drawn documents'
tokens in memory.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, remove_parts, write_table
from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.blend import Blend, blend
from rcpt_ray.mixture.layout import lay_out
from rcpt_ray.mixture.pack import pack
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import TextTokenizer, TokenizedDocument, tokenize_documents
from rcpt_ray.records import SEGMENT_KINDS

_ROWS_IN_PART = 4096


@dataclass(frozen=True)
class Candidate:
    """A document that may be drawn, with its thought where it has one that was kept."""

    doc_id: str
    source: str
    text: str
    thought: str | None


def read_candidates(corpus_parts: list[Path], selected_parts: list[Path]) -> Iterator[Candidate]:
    """Training documents in the order of the corpus."""
    thoughts: dict[str, str] = {}
    for part in selected_parts:
        table = pq.read_table(part, columns=["doc_id", "thought", "status"])
        thoughts |= {row["doc_id"]: row["thought"] for row in table.to_pylist() if row["status"] == "ok"}
    for part in corpus_parts:
        for row in pq.read_table(part, columns=["doc_id", "source", "text"]).to_pylist():
            yield Candidate(row["doc_id"], row["source"], row["text"], thoughts.get(row["doc_id"]))


def mix(
    candidates: Iterator[Candidate],
    spec: MixtureSpec,
    num_tokens: int | None,
    seed: int,
    tokenizer: TextTokenizer,
    folder: Path,
) -> Outcome:
    """Blend and pack into `folder`; `num_tokens` is the budget, None for what is there.

    Raises:
        UserError: nothing is left to train on, or the blend asked for cannot be drawn.
    """
    remove_parts(folder)
    documents, num_without_thought = _components(list(candidates), spec, tokenizer)
    sizes = {component: [(doc.doc_id, len(doc)) for doc in docs.values()] for component, docs in documents.items()}
    num_in = sum(map(len, sizes.values())) + num_without_thought
    if not any(sizes.values()):
        raise UserError(
            f"mixture: none of {num_in} documents has a thought that was kept; see the reasons in the select stage, or "
            "set mixture.documents=all with mixture.layout=text_only"
        )
    blended = blend(sizes, spec.weights, num_tokens, spec.max_repeats, seed)
    drawn = [documents[draw.component][draw.doc_id] for draw in blended.draws]
    if not drawn:
        raise UserError(f"mixture.num_tokens={num_tokens} is less than half a document; give a larger budget")
    rows = pack(drawn, spec.row_tokens, padding_id=tokenizer.eos_token_id or 0)
    order = sorted(range(len(rows)), key=lambda row: unit_hash("row", seed, row))
    rows = rows.take(pa.array(order))
    for start in range(0, len(rows), _ROWS_IN_PART):
        write_table(folder / f"part-{start // _ROWS_IN_PART:06d}.parquet", rows.slice(start, _ROWS_IN_PART))
    kinds = Counter[int]()
    for document in drawn:
        values, numbers = np.unique(document.kinds_N, return_counts=True)
        kinds.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    num_used = len({(draw.component, draw.doc_id) for draw in blended.draws})
    rejected = {"no_thought": num_without_thought, "not_drawn": num_in - num_without_thought - num_used}
    return Outcome(
        counts=Counts(
            unit="document of a component",
            num_in=num_in,
            num_ok=num_used,
            rejected={reason: number for reason, number in rejected.items() if number},
        ),
        tokens={"all": kinds.total()} | {SEGMENT_KINDS[kind]: kinds[kind] for kind in sorted(kinds)},
        details=_shares(blended)
        | {
            "num_rows": len(rows),
            "row_tokens": spec.row_tokens,
            "padding_share": 1 - kinds.total() / (len(rows) * spec.row_tokens),
            "num_draws": len(drawn),
        },
    )


def _components(
    candidates: list[Candidate], spec: MixtureSpec, tokenizer: TextTokenizer
) -> tuple[dict[str, dict[str, TokenizedDocument]], int]:
    """Tokenized documents by component and id, and the number of (document, kind) left out for want of a thought."""
    sources = sorted({candidate.source for candidate in candidates})
    kind = "raw" if spec.layout == "text_only" else "thought"
    wanted = (
        [name for name, weight in spec.weights.items() if weight > 0]
        if spec.weights
        else [f"{source}/{kind}" for source in sources]
    )
    documents: dict[str, dict[str, TokenizedDocument]] = {}
    num_without_thought = 0
    for component in wanted:
        source, _, kind = component.rpartition("/")
        if source not in sources:
            raise UserError(f"mixture.weights.{component}: {source} has no documents; sources: {', '.join(sources)}")
        of_source = [candidate for candidate in candidates if candidate.source == source]
        needs_thought = kind == "thought" or spec.documents == "with_thought"
        usable = [c for c in of_source if c.thought is not None or not needs_thought]
        num_without_thought += len(of_source) - len(usable)
        laid_out = [(c.doc_id, lay_out(c.text, c.thought if kind == "thought" else None, spec)) for c in usable]
        documents[component] = {doc.doc_id: doc for doc in tokenize_documents(laid_out, tokenizer)}
    return documents, num_without_thought


def _shares(blended: Blend) -> dict[str, object]:
    target, achieved = sum(blended.target_tokens.values()), sum(blended.achieved_tokens.values())
    return {
        "target": {component: tokens / target for component, tokens in blended.target_tokens.items()},
        "achieved": {component: tokens / achieved for component, tokens in blended.achieved_tokens.items()},
        "target_tokens": round(target),
        "achieved_tokens": achieved,
    }
