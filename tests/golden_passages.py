"""The golden sample: 20 cleaned passages of each real corpus, kept as hashes and lengths.

A change of cleaning or cutting shows as a difference here; it is to be looked at, not waved through. To see the
passages that the sample now has, and to renew the files once they have been read and found good:

    python tests/golden_passages.py show law_opinions
    python tests/golden_passages.py renew
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rcpt_ray.corpus.cleaning.clean import clean
from rcpt_ray.corpus.passages import cut_passages
from rcpt_ray.corpus.spec import SourceSpec

PROJECT = Path(__file__).parents[1]
CORPORA = Path(os.environ.get("RCPT_SHARED", PROJECT.parent / "shared")) / "data" / "corpus"
GOLDEN = Path(__file__).parent / "golden"
NUM_PASSAGES, PASSAGE_TOKENS, MIN_WORDS = 20, 256, 20

SOURCES = {
    "law_opinions": (SourceSpec(path="x", domain="law", furniture=["court", "page"]), ""),
    "stem_openstax": (SourceSpec(path="x", domain="stem"), ""),
    "stem_openlogic_latex": (SourceSpec(path="x", domain="stem", markup="latex"), ".tex"),
}


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Four tokens for three words, about what English costs."""
    return [-(-4 * len(text.split()) // 3) for text in texts]


def passages_of(text: str, corpus: str) -> list[str]:
    source, ending = SOURCES[corpus]
    return cut_passages(clean(text, source, ending, repair_encoding=True), PASSAGE_TOKENS, count_tokens)


def sample(corpus: str) -> list[tuple[dict[str, Any], str]]:
    """The documents first by hash of their id, of each a passage chosen by the hash too, with its description."""
    rows = pq.read_table(CORPORA / f"{corpus}.parquet", columns=["id", "text"]).to_pylist()
    rows.sort(key=lambda row: hashlib.sha256(row["id"].encode()).digest())
    chosen: list[tuple[dict[str, Any], str]] = []
    for row in rows:
        passages = passages_of(row["text"], corpus)
        index = int(hashlib.sha256(row["id"].encode()).hexdigest(), 16) % max(1, len(passages))
        if passages and len(passages[index].split()) >= MIN_WORDS:
            chosen.append((describe(row["id"], index, passages[index]), passages[index]))
        if len(chosen) == NUM_PASSAGES:
            break
    return chosen


def describe(doc_id: str, index: int, passage: str) -> dict[str, Any]:
    digest = hashlib.sha256(passage.encode()).hexdigest()[:16]
    return {
        "id": doc_id,
        "passage": index,
        "sha256": digest,
        "num_chars": len(passage),
        "num_words": len(passage.split()),
    }


def kept(corpus: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{corpus}.json").read_text())
    return found


def differences(corpus: str) -> list[str]:
    """A line for each passage that is not as it was kept, with its beginning as it is now."""
    now = {(seen["id"], seen["passage"]): (seen, passage) for seen, passage in sample(corpus)}
    lines = []
    for was in kept(corpus):
        seen, passage = now.pop((was["id"], was["passage"]), (None, ""))
        if seen != was:
            lines.append(f"{was} is now {seen}: {passage[:200]!r}")
    return lines + [f"{seen} is new: {passage[:200]!r}" for seen, passage in now.values()]


def main(command: str, *corpora: str) -> None:
    for corpus in corpora or SOURCES:
        chosen = sample(corpus)
        if command == "renew":
            GOLDEN.mkdir(exist_ok=True)
            lines = ",\n".join(json.dumps(seen) for seen, _ in chosen)
            (GOLDEN / f"{corpus}.json").write_text(f"[\n{lines}\n]\n")
        else:
            for seen, passage in chosen:
                print(f"===== {seen}\n{passage}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
