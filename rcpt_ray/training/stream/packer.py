"""The packer: documents arrive, the running blend draws them, best fit packs them, and batches go into the record.

    arrived documents --blend--> pieces that wait --best fit--> rows, the fullest first --> batch g

Drawn documents wait until they fill `pool_rows` rows beyond a batch: more of them pack better. Of the rows that they
would fill, a batch takes the fullest; the others' documents wait on and are packed anew. At the end the rest is packed.

What is drawn and waits is in memory alone; what was drawn and packed is told by the record. So a packer that begins
again reads the record, counts what it holds, and finds the other documents waiting: none is lost, none packed twice.
Where another packer was first with a batch, this one begins again in the same way. Price: the names of the documents,
and best fit over the pool for each batch (64 rows of 8 documents: a millisecond).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rcpt_ray.mixture.pack import Documents, assign_rows, rows_of
from rcpt_ray.training.stream.arrivals import Arrived, documents_of, read_arrived
from rcpt_ray.training.stream.record import PIECE, RECORDED_ROW, Record
from rcpt_ray.training.stream.refusal import refusal
from rcpt_ray.training.stream.running_blend import Arrival, RunningBlend
from rcpt_ray.training.stream.work import Item, StreamWork


@dataclass(frozen=True)
class _Piece:
    """A part of a drawn document that fits into a row; the whole of it where it can."""

    document: Arrival
    repeat: int
    start: int
    length: int


class Packer:
    """Turns arrivals into recorded batches."""

    def __init__(self, work: StreamWork) -> None:
        self._work, self._record = work, Record(work.folder)
        self._arrived = dict[Item, Arrived]()
        expected = work.items()
        self._num_expected, self._num_open = len(expected), Counter(item.kind for item in expected)
        self._num_thoughts = self._num_refused = 0
        self._num_batches, self._waiting = 0, list[_Piece]()
        self._begin()
        for item in sorted(expected, key=lambda item: item.id):
            self.arrive(item)

    @property
    def has_all(self) -> bool:
        """Whether everything has arrived."""
        return len(self._arrived) == self._num_expected

    def failure(self) -> str:
        """Why the training cannot go on, for the user; empty where it can."""
        return refusal(self._work, self._num_refused, self._num_thoughts, self.has_all, self._record.read_end())

    def arrive(self, item: Item) -> None:
        """Take an item that is on disk; one that has been taken, or is not there yet, changes nothing."""
        arrived = None if item in self._arrived else read_arrived(self._work, item)
        if arrived is not None:
            self._arrived[item] = arrived
            self._num_open[item.kind] -= 1
            self._num_thoughts += arrived.num_thoughts
            self._num_refused += arrived.num_refused
            self._take(item)

    def batches(self) -> Iterator[int]:
        """Record every batch that can be made now; yields its step. After the last of all, the end is recorded."""
        while self._record.read_end() is None:
            is_over = self._fill()
            rows = self._rows(is_over)
            if rows:
                step = self._num_batches
                if self._record.append(step, self._table(rows, step)):
                    self._num_batches += 1
                    packed = {piece for row in rows for piece in row}
                    self._waiting = [piece for piece in self._waiting if piece not in packed]
                    yield step
                else:
                    self._begin_again()
            elif is_over:
                self._record.end(self._summary())
            else:
                return

    def _begin(self) -> None:
        """An empty blend that knows what the record holds."""
        work = self._work
        self._blend = RunningBlend(
            [one.name for one in work.components],
            work.mixture.shares,
            work.mixture.num_tokens,
            work.mixture.max_repeats,
        )
        self._waiting, self._num_batches = [], self._record.num_batches()
        self._packed: dict[tuple[str, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for step in range(self._num_batches):
            for row in self._record.read(step, ["pieces"])["pieces"].to_pylist():
                for piece in row:
                    self._packed[piece["component"], piece["doc_id"]][piece["repeat"]].add(piece["start"])
                    self._blend.count(piece["component"], piece["length"])
        self._close()

    def _begin_again(self) -> None:
        self._begin()
        for item in self._arrived:
            self._take(item)

    def _take(self, item: Item) -> None:
        """Give an item's documents to the blend; what is left of one that was packed in part waits to be packed."""
        for document in documents_of(self._work, item):
            packed = self._packed.pop((document.component, document.doc_id), dict[int, set[int]]())
            num_drawn = max(packed, default=-1) + 1
            for repeat in range(num_drawn):
                for piece in self._pieces(document, repeat):
                    if piece.start not in packed.get(repeat, ()):
                        self._waiting.append(piece)
                        self._blend.count(document.component, piece.length)
            self._blend.arrive(document, num_drawn)
        self._close()

    def _close(self) -> None:
        """Tell the blend which components may still get documents."""
        to_come = +self._num_open
        self._blend.close([one.name for kind in to_come for one in self._work.components_of(kind)])

    def _fill(self) -> bool:
        """Draw until enough documents wait, or none can be drawn now; returns whether drawing is over for good."""
        enough = (self._work.plan.global_batch_rows + self._work.pool_rows) * self._work.plan.row_tokens
        num_tokens = sum(piece.length for piece in self._waiting)
        while num_tokens < enough:
            draw = self._blend.draw()
            if draw is None:
                return self._blend.is_over
            self._waiting += self._pieces(draw.document, draw.repeat)
            num_tokens += draw.document.num_tokens
        return False

    def _pieces(self, document: Arrival, repeat: int) -> list[_Piece]:
        size, whole = self._work.plan.row_tokens, document.num_tokens
        return [_Piece(document, repeat, start, min(size, whole - start)) for start in range(0, whole, size)]

    def _rows(self, is_over: bool) -> list[list[_Piece]]:
        """The rows of the next batch; none where too few documents wait and there are more to come."""
        plan = self._work.plan
        if not is_over and sum(piece.length for piece in self._waiting) < (
            (plan.global_batch_rows + self._work.pool_rows) * plan.row_tokens
        ):
            return []
        rows = assign_rows([piece.length for piece in self._waiting], plan.row_tokens)
        rows.sort(key=lambda row: (-sum(self._waiting[place].length for place in row), min(row)))
        return [[self._waiting[place] for place in row] for row in rows[: plan.global_batch_rows]]

    def _table(self, rows: list[list[_Piece]], step: int) -> pa.Table:
        """Rows of the record, in an order drawn by seed and step: without it the first worker's were the fullest."""
        plan = self._work.plan
        order = np.random.default_rng([plan.seed, step]).permutation(len(rows))
        shuffled = [rows[place] for place in order]
        pieces = [piece for row in shuffled for piece in row]
        places = iter(range(len(pieces)))
        packed = rows_of(
            self._documents(pieces),
            [[next(places) for _ in row] for row in shuffled],
            plan.row_tokens,
            self._work.tokenizer.padding_id,
        )
        said = [
            [
                {
                    "component": piece.document.component,
                    "doc_id": piece.document.doc_id,
                    "repeat": piece.repeat,
                    "start": piece.start,
                    "length": piece.length,
                }
                for piece in row
            ]
            for row in shuffled
        ]
        return packed.append_column("pieces", pa.array(said, pa.list_(PIECE))).cast(RECORDED_ROW)

    def _documents(self, pieces: list[_Piece]) -> Documents:
        """The pieces' tokens, each as a document of its own."""
        files = {name: _Tokens(self._work.tokens_folder / name) for name in {piece.document.file for piece in pieces}}
        parts = [files[piece.document.file].read(piece) for piece in pieces]
        return Documents(
            [piece.document.doc_id for piece in pieces],
            np.concatenate([ids for ids, _ in parts]),
            np.concatenate([kinds for _, kinds in parts]),
            np.append(0, np.cumsum([piece.length for piece in pieces])).astype(np.int64),
        )

    def _summary(self) -> dict[str, Any]:
        """What arrived in all."""
        candidates, rejected = Counter[str](), Counter[str]()
        for own in self._arrived.values():
            candidates.update(own.num_candidates)
            rejected.update(own.rejected)
        return {
            "num_batches": self._num_batches,
            "has_all": self.has_all,
            "num_thoughts": self._num_thoughts,
            "num_refused": self._num_refused,
            "num_candidates": dict(candidates),
            "rejected": dict(rejected),
        }


class _Tokens:
    """A file of tokenized documents, mapped while a batch is packed."""

    def __init__(self, file: Any) -> None:
        self._table = pa.ipc.open_file(pa.memory_map(str(file))).read_all().combine_chunks()

    def read(self, piece: _Piece) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]]:
        ids, kinds, lengths = (
            self._table[name][piece.document.row].values.to_numpy() for name in ("ids", "run_kinds", "run_lengths")
        )
        stop = piece.start + piece.length
        return ids[piece.start : stop], np.repeat(kinds, lengths)[piece.start : stop]
