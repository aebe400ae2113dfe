"""What a worker does with a piece of a source: read, clean, cut, judge, and write what the joining needs.

    <piece>.parquet     a row (WORK) for each document or passage, rejected ones without their text
    <piece>.signatures  MinHash signatures uint16[N, H] of the N rows that are not rejected, where they are wanted
    <piece>.receipt     written last: with it the piece is done

Everything here looks at one document alone; what depends on others (duplicates) is decided in join.py. Price: the texts
of one piece in memory.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rcpt_ray.artifacts import table_bytes, write_atomic
from rcpt_ray.corpus.cleaning.clean import clean
from rcpt_ray.corpus.decontaminate import EvaluationIndex
from rcpt_ray.corpus.duplicates import id_digest, text_digest
from rcpt_ray.corpus.filter import count_words, reason_to_reject
from rcpt_ray.corpus.language import other_language
from rcpt_ray.corpus.near_duplicates import Signer
from rcpt_ray.corpus.ngrams import HashedWords, hash_words
from rcpt_ray.corpus.passages import CountTokens, cut_passages
from rcpt_ray.corpus.quality import QualityFilters
from rcpt_ray.corpus.reading.pieces import Piece
from rcpt_ray.corpus.reading.read import RawRow, read_piece
from rcpt_ray.corpus.spec import CorpusSpec

WORK = pa.schema(
    [
        ("row", pa.int64()),
        ("doc_id", pa.string()),
        ("heldout_key", pa.string()),
        ("has_own_id", pa.bool_()),
        ("text", pa.string()),
        ("segment_ends", pa.list_(pa.int32())),
        ("num_words", pa.int32()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("id_digest", pa.binary(16)),
        ("text_digest", pa.binary(16)),
    ]
)
"""A document or passage of a piece; `row` counts the piece's rows, `heldout_key` is the id of the whole document."""

_BATCH_DOCUMENTS = 256
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
class Done:
    """The receipt of a piece."""

    piece: str
    num_rows: int
    """Rows read."""
    num_kept: int
    """Documents or passages that are not rejected so far."""


def prepare_piece(piece: Piece, preparation: Preparation) -> Done:
    """Prepare a piece, unless a killed making has.

    Raises:
        UserError: a row cannot be used and bad rows fail.
    """
    folder = preparation.folder
    receipt = folder / f"{piece.id}.receipt"
    if receipt.exists():
        return Done(**json.loads(receipt.read_text(encoding="utf-8")))
    spec = preparation.spec
    judge = Judge(preparation)
    rows: list[dict[str, Any]] = []
    signatures: list[Any] = []
    num_rows = 0
    raws = read_piece(piece, spec.sources[piece.source], spec.bad_rows)
    while batch := list(islice(raws, _BATCH_DOCUMENTS)):
        num_rows += len(batch)
        judged, words = judge.rows(batch, piece.source)
        rows += judged
        if judge.signer is not None:
            signatures.append(judge.signer.sign(words))
    num_kept = sum(row["reason"] is None for row in rows)
    write_atomic(folder / f"{piece.id}.parquet", table_bytes(pa.Table.from_pylist(rows, schema=WORK)))
    if signatures:
        write_atomic(folder / f"{piece.id}.signatures", np.concatenate(signatures).tobytes())
    done = Done(piece.id, num_rows, num_kept)
    write_atomic(receipt, json.dumps(asdict(done)))
    return done


class Judge:
    """Turns raw rows into documents and passages, each with the reason for which it is left out."""

    def __init__(self, preparation: Preparation) -> None:
        spec = self._spec = preparation.spec
        self._index, self._count_tokens = preparation.index, preparation.count_tokens
        self._quality = {
            name: QualityFilters(spec.quality if source.quality is None else source.quality)
            for name, source in spec.sources.items()
        }
        self.signer = Signer(spec.near_duplicates) if spec.near_duplicates else None

    def rows(self, raws: Sequence[RawRow], source: str) -> tuple[list[dict[str, Any]], HashedWords]:
        """Rows (WORK) in order, and the words of those that are kept."""
        rows = [row for raw in raws for row in self._documents(raw, source)]
        for row in rows:
            if row["reason"] is None:
                row["reason"], row["detail"] = self._refused(row, source)
        kept = [row for row in rows if row["reason"] is None]
        words = hash_words([row["text"] for row in kept])
        if self._index is not None:
            hits = self._index.hits(words)
            for row, hit in zip(kept, hits, strict=True):
                if hit is not None:
                    row["reason"], row["detail"] = "contaminated", f"{hit.set_name}/{hit.item_id}: {hit.ngram}"
            if any(hits):
                kept = [row for row in kept if row["reason"] is None]
                words = hash_words([row["text"] for row in kept])
        for row in rows:
            if row["reason"] is not None:
                row["text"] = None
            else:
                row["id_digest"], row["text_digest"] = id_digest(row["doc_id"]), text_digest(row["text"])
        return rows, words

    def _documents(self, raw: RawRow, source: str) -> Iterator[dict[str, Any]]:
        """The document of a row, or its passages."""
        settings = self._spec.sources[source]
        texts = [clean(text, settings, raw.ending, self._spec.repair_encoding) for text in raw.texts]
        doc_id = _document_id(source, raw)
        row = {"row": raw.row, "doc_id": doc_id, "heldout_key": doc_id, "reason": raw.problem, "detail": ""}
        row["has_own_id"] = raw.row_id is not None
        texts = [text for text in texts if text]
        if raw.problem is not None or not texts:
            yield row | {"reason": raw.problem or "no_text"}
        elif len(texts) == 1 and self._spec.passage_tokens is not None:
            assert self._count_tokens is not None, "passages need a tokenizer"
            for number, text in enumerate(cut_passages(texts[0], self._spec.passage_tokens, self._count_tokens), 1):
                yield row | {"doc_id": f"{doc_id}#{number}", "text": text, "segment_ends": []}
        else:
            text, ends = _joined(texts)
            yield row | {"text": text, "segment_ends": ends if len(ends) > 1 else []}

    def _refused(self, row: dict[str, Any], source: str) -> tuple[str | None, str]:
        """Why a document is left out, None if it is kept, and a detail."""
        row["num_words"] = count_words(row["text"])
        if reason := reason_to_reject(row["num_words"], self._spec):
            return reason, f"{row['num_words']} words"
        if self._spec.languages is not None and (language := other_language(row["text"], self._spec.languages)):
            return "other_language", language
        return self._quality[source].reason(row["text"]), ""


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
