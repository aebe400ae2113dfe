"""One batch of rows as documents and passages, each with the reason for which it is left out, where there is one.

Everything here looks at one document alone. A question of the evaluation is looked for in each passage and across each
cut between two, so that cutting hides none.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcpt_ray.corpus.cleaning.clean import clean
from rcpt_ray.corpus.decontaminate import EvaluationIndex, Hit
from rcpt_ray.corpus.filter import count_words, reason_to_reject
from rcpt_ray.corpus.language import other_language
from rcpt_ray.corpus.ngrams import HashedWords, hash_words
from rcpt_ray.corpus.passages import CountTokens, cut_passages
from rcpt_ray.corpus.quality import QualityFilters
from rcpt_ray.corpus.reading.read import RawRow
from rcpt_ray.corpus.spec import CorpusSpec

Row = dict[str, Any]
_BETWEEN_SEGMENTS = "\n\n"


@dataclass(frozen=True)
class Preparation:
    """What every piece is prepared with; can be sent to other processes."""

    spec: CorpusSpec
    folder: Path
    """Where the work goes."""
    index: EvaluationIndex | None
    """The questions that no document may hold."""
    count_tokens: CountTokens | None
    """For passages."""


@dataclass(frozen=True)
class Judged:
    """A batch after judging."""

    rows: list[Row]
    """records of work.WORK, without digests, in order."""
    words: HashedWords
    """The words of those rows that are kept, in their order."""
    wholes: list[tuple[Row, str]]
    """Documents that were cut, with their whole texts; empty where documents are kept whole."""


class Judge:
    """Turns raw rows into documents and passages."""

    def __init__(self, preparation: Preparation) -> None:
        spec = self._spec = preparation.spec
        self._index, self._count_tokens = preparation.index, preparation.count_tokens
        self._quality = {
            name: QualityFilters(spec.quality if source.quality is None else source.quality)
            for name, source in spec.sources.items()
        }

    def batch(self, raws: Sequence[RawRow], source: str) -> Judged:
        """Judge the rows of a batch."""
        rows, wholes = list[Row](), list[tuple[Row, str]]()
        for raw in raws:
            row, texts = self._cleaned(raw, source)
            if self._spec.passage_tokens is not None and texts:
                wholes.append((row, _BETWEEN_SEGMENTS.join(texts)))
            rows += self._documents(row, texts)
        for row in rows:
            if row["reason"] is None:
                row["reason"], row["detail"] = self._refused(row, source)
        kept = [row for row in rows if row["reason"] is None]
        words = hash_words([row["text"] for row in kept])
        if self._index is not None and self._refuse_contaminated(kept, words, self._index):
            kept = [row for row in kept if row["reason"] is None]
            words = hash_words([row["text"] for row in kept])
        for row in rows:
            if row["reason"] is not None:
                row["text"] = None
        return Judged(rows, words, wholes)

    def _cleaned(self, raw: RawRow, source: str) -> tuple[Row, list[str]]:
        """What all rows of a document have in common, and its segments as they are after cleaning."""
        settings = self._spec.sources[source]
        texts = [clean(text, settings, raw.ending, self._spec.repair_encoding) for text in raw.texts]
        texts = [text for text in texts if text]
        doc_id = _document_id(source, raw)
        reason = raw.problem or (None if texts else "no_text")
        row = {"row": raw.row, "doc_id": doc_id, "heldout_key": doc_id, "has_own_id": raw.row_id is not None}
        return row | {"reason": reason, "detail": "", "is_cut": False}, [] if reason else texts

    def _documents(self, row: Row, texts: Sequence[str]) -> Iterator[Row]:
        """The document of a row, or its passages."""
        if not texts:
            yield row
        elif len(texts) == 1 and self._spec.passage_tokens is not None:
            assert self._count_tokens is not None, "passages need a tokenizer"
            for number, text in enumerate(cut_passages(texts[0], self._spec.passage_tokens, self._count_tokens), 1):
                own_id = f"{row['doc_id']}#{number}"
                yield row | {"doc_id": own_id, "text": text, "segment_ends": [], "is_cut": number > 1}
        else:
            text, ends = _joined(texts)
            yield row | {"text": text, "segment_ends": ends if len(ends) > 1 else []}

    def _refused(self, row: Row, source: str) -> tuple[str | None, str]:
        """Why a document is left out, None if it is kept, and a detail."""
        row["num_words"] = count_words(row["text"])
        if reason := reason_to_reject(row["num_words"], self._spec):
            return reason, f"{row['num_words']} words"
        if self._spec.languages is not None and (language := other_language(row["text"], self._spec.languages)):
            return "other_language", language
        return self._quality[source].reason(row["text"]), ""

    def _refuse_contaminated(self, kept: Sequence[Row], words: HashedWords, index: EvaluationIndex) -> bool:
        """Give their reason to rows that hold a question, or a part of one that goes on in the next; whether any do."""
        assert self._spec.decontaminate is not None
        found: dict[int, Hit] = {number: hit for number, hit in enumerate(index.hits(words)) if hit is not None}
        reach = self._spec.decontaminate.ngram_words - 1
        cuts = [
            number
            for number, row in enumerate(kept)
            if number and row["is_cut"] and row["heldout_key"] == kept[number - 1]["heldout_key"]
        ]
        across = [" ".join(words.words[cut - 1][-reach:] + words.words[cut][:reach]) for cut in cuts]
        for cut, hit in zip(cuts, index.hits(hash_words(across)), strict=True):
            if hit is not None:
                found.setdefault(cut - 1, hit)
                found.setdefault(cut, hit)
        for number, hit in found.items():
            kept[number]["reason"] = "contaminated"
            kept[number]["detail"] = f"{hit.set_name}/{hit.item_id}: {hit.ngram}"
        return bool(found)


def _joined(texts: Sequence[str]) -> tuple[str, list[int]]:
    """The text of a document's segments, an empty line after each but the last, and where each ends."""
    pieces = [text + _BETWEEN_SEGMENTS for text in texts[:-1]] + [texts[-1]]
    return "".join(pieces), np.cumsum([len(piece) for piece in pieces]).tolist()


def _document_id(source: str, raw: RawRow) -> str:
    own = raw.row_id
    if own is None:
        content = "\x1f".join(raw.texts) or raw.where
        own = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{source}/{own}"
