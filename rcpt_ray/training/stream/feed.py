"""The feed of one worker of a streaming training.

Batches that were in the record when the attempt began are read from it; later ones come through Ray Data, each worker's
rows by themselves. What comes wakes the worker up and saves it the reading; which rows it trains on, where the end is
and why there is no more is said by the record alone. So an element that was dealt to another rank, was lost with a
process or is held back by the splitter is made good from there. Price: a worker that waits looks there once a second.

    B rows, T tokens
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from rcpt_ray.errors import UserError
from rcpt_ray.training.batch import COLUMNS, Batch, batch_of, columns_of
from rcpt_ray.training.plan import TrainingPlan, share_of_rank
from rcpt_ray.training.stream.record import Record

_READ_AHEAD = 2
_LOOK_EVERY_S, _ON_ITS_WAY_S = 1.0, 0.05


@dataclass(frozen=True)
class Element:
    """What the pipeline hands to one rank: its rows of a batch, or the news that there are no more."""

    step: int
    """The batch; at the end, or where the stream cannot go on, the number of batches."""
    rank: int
    num_rows: int = 0
    """Rows of the whole batch."""
    rows: bytes = b""
    """This rank's own as an Arrow stream, in the order of its micro-batches; empty where it has none."""
    is_end: bool = False


class StreamFeed:
    """Micro-batches of one rank."""

    def __init__(
        self, record: Record, session: str, plan: TrainingPlan, rank: int, elements: Iterator[Element] | None
    ) -> None:
        """`session` is the command, whose failure is told."""
        self._record, self._session, self._plan, self._rank = record, session, plan, rank
        self._num_replayed = record.num_batches()
        self._elements = None if elements is None else _ReadAhead(elements)
        self._next: Element | None = None

    def start(self, step: int) -> None:
        """Nothing has to be made ready: elements are read ahead from the beginning."""

    def batches(self, step: int) -> list[Batch] | None:
        """This rank's micro-batches of a step, None after the last; waits for what is still being made.

        Raises:
            UserError: nothing more will come, though it is not the end.
            RuntimeError: the pipeline ended without a word, which another attempt mends.
        """
        if step < self._num_replayed:
            return None if self._is_over(step) else self._recorded(step)
        while True:
            has_ended, is_there = self._elements is None, self._record.has(step)
            element = self._element(step, _ON_ITS_WAY_S if is_there else _LOOK_EVERY_S)
            if self._is_over(step):
                return None
            if element is not None and (element.step, element.rank, element.is_end) == (step, self._rank, False):
                return self._dealt(element) if element.rows else self._recorded(step)
            if is_there or self._record.has(step):
                return self._recorded(step)
            if has_ended:
                raise RuntimeError(f"the stream ended before batch {step}, and the record has no end")
            if element is not None:
                time.sleep(_ON_ITS_WAY_S)  # it may be ahead of the disk

    def ends_with(self, step: int) -> bool:
        """Never known for sure, and all ranks must agree."""
        return False

    def doc_ids(self, step: int) -> list[str]:
        """The documents of the whole global batch, from the record."""
        rows = self._record.read(step, ["doc_ids"])["doc_ids"].to_pylist()
        return sorted({doc_id for row in rows for doc_id in row})

    def close(self) -> None:
        """The pipeline may end."""

    def _is_over(self, step: int) -> bool:
        """Whether the record has its end before this step; raises why it cannot go on."""
        end = self._record.read_end()
        failure = self._record.read_failure(self._session)
        if failure is not None and step >= failure.num_batches:
            raise UserError(failure.sentence)
        return end is not None and step >= int(end["num_batches"])

    def _element(self, step: int, timeout_s: float) -> Element | None:
        """The first element that is not of an earlier step; None where none has come in time, or none will."""
        while self._elements is not None and (self._next is None or self._next.step < step):
            try:
                self._next = self._elements.get(timeout_s)
            except queue.Empty:
                return None
            if self._next is None:
                self._elements = None
        return self._next

    def _recorded(self, step: int) -> list[Batch]:
        columns = columns_of(self._record.read(step, COLUMNS))
        return [batch_of(columns, rows) for rows in _shares(self._plan, len(columns["input_ids"]), self._rank)]

    def _dealt(self, element: Element) -> list[Batch]:
        with pa.ipc.open_stream(element.rows) as rows:
            columns = columns_of(rows.read_all())
        places = iter(range(len(columns["input_ids"])))
        return [
            batch_of(columns, [None if row is None else next(places) for row in rows])
            for rows in _shares(self._plan, element.num_rows, self._rank)
        ]


def deal(record: Record, plan: TrainingPlan, step: int) -> Iterator[Element]:
    """A recorded batch as an element a rank."""
    table = record.read(step, COLUMNS)
    for rank in range(plan.num_workers):
        own = [row for rows in _shares(plan, len(table), rank) for row in rows if row is not None]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table.take(pa.array(own, pa.int32())))
        yield Element(step, rank, len(table), bytes(sink.getvalue()) if own else b"")


def _shares(plan: TrainingPlan, num_rows: int, rank: int) -> list[list[int | None]]:
    """A rank's micro-batches of a batch of so many rows, None for the empty rows that fill the last batch."""
    rows = [row if row < num_rows else None for row in range(plan.global_batch_rows)]
    return share_of_rank(plan, rows, rank)


class _ReadAhead:
    """Takes elements in a thread of its own, so that the pipeline runs while the worker starts and trains."""

    def __init__(self, elements: Iterator[Element]) -> None:
        self._queue = queue.Queue[Callable[[], Element | None]](_READ_AHEAD)
        threading.Thread(target=self._run, args=(elements,), daemon=True).start()

    def get(self, timeout_s: float) -> Element | None:
        """The next element, None after the last; raises what the pipeline raised, and queue.Empty."""
        return self._queue.get(timeout=timeout_s)()

    def _run(self, elements: Iterator[Element]) -> None:
        try:
            for element in elements:
                self._queue.put(partial(_same, element))
        except Exception as error:
            self._queue.put(_raiser(error))
        else:
            self._queue.put(lambda: None)


def _same(element: Element) -> Element | None:
    return element


def _raiser(error: Exception) -> Callable[[], Element | None]:
    def fail() -> Element | None:
        raise error

    return fail
