"""Which documents repeat others: of equal ids, equal texts and near duplicates the first one in reading order stays.

Where documents are cut into passages, whole documents are compared first, and all passages of one that repeats another
go with it: cut elsewhere, the two would share no passage, and one might be held out while the other is trained on. Then
the passages of those that stay are compared among themselves.

Price: 32 bytes a document for exact duplicates, then what near_duplicates.py says for near ones, with the signatures on
disk; some 200 bytes for each whole document that is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rcpt_ray.corpus.duplicates import REASONS, digests_array, exact_duplicates
from rcpt_ray.corpus.near_duplicates import near_duplicates
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.corpus.work import Done


@dataclass(frozen=True)
class Repeat:
    """Why a document is left out, and the document that it nearly repeats, if it does."""

    reason: str
    of: str


@dataclass(frozen=True)
class Repeats:
    """Of N documents or passages, in reading order, that no piece rejected: which repeat others."""

    reason_N: npt.NDArray[np.int8]
    """An index into duplicates.REASONS."""
    of_N: npt.NDArray[np.int64]
    """The number of the one that a near duplicate repeats, else -1."""

    def reason(self, number: int, has_own_id: bool) -> str | None:
        """Why one is left out, None if it stays; an id that is made of the text makes no duplicate_id."""
        found = REASONS[self.reason_N[number]]
        if found == "duplicate_id" and not has_own_id:
            return "duplicate_text"
        return "near_duplicate" if found is None and self.of_N[number] >= 0 else found

    @property
    def repeated(self) -> set[int]:
        """Numbers of those that others nearly repeat."""
        return set(self.of_N[self.of_N >= 0].tolist())


def whole_repeats(pieces: Sequence[Done], spec: CorpusSpec, work: Path) -> list[dict[int, Repeat]]:
    """For each piece the rows whose whole documents are left out; empty where documents are not cut."""
    if spec.passage_tokens is None:
        return [{} for _ in pieces]
    found = _find([f"{piece.piece}.whole" for piece in pieces], spec, work, None)
    repeated, names = found.repeated, dict[int, str]()
    left_out, number = list[dict[int, Repeat]](), 0
    for piece in pieces:
        own: dict[int, Repeat] = {}
        table = pq.read_table(work / f"{piece.piece}.whole.parquet", columns=["row", "doc_id", "has_own_id"])
        for row in table.to_pylist():
            if number in repeated:
                names[number] = row["doc_id"]
            if (reason := found.reason(number, row["has_own_id"])) is not None:
                own[row["row"]] = Repeat(reason, names.get(int(found.of_N[number]), ""))
            number += 1
        left_out.append(own)
    return left_out


def find_repeats(
    pieces: Sequence[Done], spec: CorpusSpec, work: Path, left_out: Sequence[dict[int, Repeat]]
) -> Repeats:
    """Repeats among the documents or passages of all pieces; those whose document is left out count for nothing."""
    return _find([piece.piece for piece in pieces], spec, work, left_out)


def _find(names: Sequence[str], spec: CorpusSpec, work: Path, left_out: Sequence[dict[int, Repeat]] | None) -> Repeats:
    ids, texts, rejected = bytearray(), bytearray(), list[npt.NDArray[np.bool_]]()
    for place, name in enumerate(names):
        table = pq.read_table(work / f"{name}.parquet", columns=["row", "reason", "id_digest", "text_digest"])
        table = table.filter(pc.is_null(table["reason"]))
        ids += b"".join(table["id_digest"].to_pylist())
        texts += b"".join(table["text_digest"].to_pylist())
        gone = pa.array(left_out[place] if left_out else [], pa.int64())
        rejected.append(pc.is_in(table["row"], value_set=gone).to_numpy())
    rejected_N = np.concatenate([np.empty(0, np.bool_), *rejected])
    reason_N = exact_duplicates(digests_array(bytes(ids)), digests_array(bytes(texts)), rejected_N)
    del ids, texts
    of_N = np.full(len(reason_N), -1, np.int64)
    if spec.near_duplicates is not None and len(reason_N):
        file = work / "all.signatures"
        with file.open("wb") as whole:
            for name in names:
                whole.write((work / f"{name}.signatures").read_bytes())
        signatures_NH = np.memmap(file, np.uint16, "r").reshape(len(reason_N), -1)
        of_N = near_duplicates(signatures_NH, spec.near_duplicates, rejected_N | (reason_N != 0))
        file.unlink()
    return Repeats(reason_N, of_N)
