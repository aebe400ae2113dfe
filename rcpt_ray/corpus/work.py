"""What a worker does with a piece of a source: read, clean, cut, judge, and write what the joining needs.

    <piece>.parquet           a row (WORK) for each document or passage, rejected ones without their text
    <piece>.signatures        MinHash signatures uint16[N, H] of the N rows that are not rejected, where they are wanted
    <piece>.whole.parquet     where documents are cut, a row (WHOLE) for each of them
    <piece>.whole.signatures  and their signatures
    <piece>.receipt           written last: with it the piece is done

What depends on other documents (duplicates) is decided in repeats.py. Price: one batch of documents in memory.
"""

import json
import os
import uuid
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.corpus.duplicates import id_digest, text_digest
from rcpt_ray.corpus.judge import Judge, Judged, Preparation
from rcpt_ray.corpus.near_duplicates import Signer
from rcpt_ray.corpus.ngrams import HashedWords, hash_words
from rcpt_ray.corpus.reading.pieces import Piece
from rcpt_ray.corpus.reading.read import read_piece

WHOLE = pa.schema(
    [
        ("row", pa.int64()),
        ("doc_id", pa.string()),
        ("has_own_id", pa.bool_()),
        ("reason", pa.string()),
        ("id_digest", pa.binary(16)),
        ("text_digest", pa.binary(16)),
    ]
)
"""A document that was cut into passages; `row` counts the piece's rows."""

WORK = pa.schema(
    [
        *WHOLE,
        ("heldout_key", pa.string()),
        ("text", pa.string()),
        ("segment_ends", pa.list_(pa.int32())),
        ("num_words", pa.int32()),
        ("detail", pa.string()),
    ]
)
"""A document or passage of a piece; `heldout_key` is the id of the whole document."""

_BATCH_DOCUMENTS = 256


@dataclass(frozen=True)
class Done:
    """The receipt of a piece."""

    piece: str
    num_rows: int
    """Rows read."""
    num_kept: int
    """Documents or passages that are not rejected so far."""
    num_wholes: int
    """Documents that were cut into passages."""


def prepare_piece(piece: Piece, preparation: Preparation) -> Done:
    """Prepare a piece, unless a killed making has.

    Raises:
        UserError: a row cannot be used and bad rows fail.
    """
    spec, folder = preparation.spec, preparation.folder
    receipt = folder / f"{piece.id}.receipt"
    if receipt.exists():
        return Done(**json.loads(receipt.read_text(encoding="utf-8")))
    judge, signer = Judge(preparation), Signer(spec.near_duplicates) if spec.near_duplicates else None
    num_rows = num_kept = num_wholes = 0
    with _Writer(folder, piece.id, WORK) as passages, _Writer(folder, f"{piece.id}.whole", WHOLE) as wholes:
        raws = read_piece(piece, spec.sources[piece.source], spec.bad_rows)
        while batch := list(islice(raws, _BATCH_DOCUMENTS)):
            judged = judge.batch(batch, piece.source)
            passages.write(_with_digests(judged), judged.words, signer)
            if judged.wholes:
                wholes.write(_wholes(judged), hash_words([text for _, text in judged.wholes]), signer)
            num_rows += len(batch)
            num_kept += len(judged.words.words)
            num_wholes += len(judged.wholes)
    done = Done(piece.id, num_rows, num_kept, num_wholes)
    write_atomic(receipt, json.dumps(asdict(done)))
    return done


def _with_digests(judged: Judged) -> list[dict[str, Any]]:
    for row in judged.rows:
        if row["reason"] is None:
            row["id_digest"], row["text_digest"] = id_digest(row["doc_id"]), text_digest(row["text"])
    return judged.rows


def _wholes(judged: Judged) -> list[dict[str, Any]]:
    return [
        row | {"id_digest": id_digest(row["doc_id"]), "text_digest": text_digest(text)} for row, text in judged.wholes
    ]


class _Writer:
    """Rows and signatures of a piece, beside their places until all of them are written."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._final = folder / f"{name}.parquet", folder / f"{name}.signatures"
        mark = uuid.uuid4().hex[:8]  # two workers may be given the same piece
        self._made = tuple(path.with_name(f".{path.name}.{mark}.tmp") for path in self._final)
        self._schema = schema

    def __enter__(self) -> "_Writer":
        self._rows = pq.ParquetWriter(self._made[0], self._schema, compression="zstd")
        self._signatures: IO[bytes] = self._made[1].open("wb")
        return self

    def write(self, rows: list[dict[str, Any]], words: HashedWords, signer: Signer | None) -> None:
        self._rows.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        if signer is not None and words.words:
            self._signatures.write(signer.sign(words).tobytes())

    def __exit__(self, kind: object, *_: object) -> None:
        self._rows.close()
        self._signatures.close()
        for made, final in zip(self._made, self._final, strict=True):
            if kind is None:
                os.replace(made, final)
            else:
                made.unlink()
