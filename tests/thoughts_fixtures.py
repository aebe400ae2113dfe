"""Documents, thoughts, shards and engines for the tests of thoughts."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.corpus.digest import documents_schema, shard_digest
from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.engine import Completion, Engine, EngineDied, Request
from rcpt_ray.thoughts.fake_engine import FakeEngine
from rcpt_ray.thoughts.generate import Generation, generate_rows, wanted_of
from rcpt_ray.thoughts.meter import Meter
from rcpt_ray.thoughts.parts import Receipt
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.work import EngineWork, Shard

Row = dict[str, Any]
POISON = "poison"


def spec_of(**changed: Any) -> ThoughtsSpec:
    """Settings of a stage with the fake engine."""
    return ThoughtsSpec(**({"engine": "fake", "teacher": {"reference": "none"}} | changed))


def generation_of(num_samples: int = 1, key: str = "key-1") -> Generation:
    """What the rows of a stage have in common; thoughts of 6 to 12 words."""
    return Generation(
        spec=spec_of(sampling={"num_samples": num_samples, "max_thought_tokens": 12}),
        seed=17,
        key=key,
        model="a-model",
        model_path="",
        model_revision="r1",
        prompt_id="short@1",
        prompt_digest="0123",
    )


def document(number: int, text: str | None = None) -> Row:
    """A row of the corpus."""
    text = f"text {number}" if text is None else text
    return {
        "doc_id": f"web/{number}",
        "source": "web",
        "domain": "stem",
        "text": text,
        "num_words": len(text.split()),
    } | {"segment_ends": []}


def thought(doc_id: str = "a", sample_index: int = 0, num_tokens: int = 20, **changed: Any) -> Row:
    """A row as the engine leaves it, with all columns."""
    made = Completion("words", "stop", num_text_tokens=5, num_prompt_tokens=9, num_thought_tokens=num_tokens)
    named = {"doc_id": doc_id, "sample_index": sample_index, "source": "web", "domain": "stem", "text": "text"}
    common = generation_of().common | {"seed": 1, "attempts": 1, "status": "ok", "reason": ""}
    return named | common | asdict(made) | changed


def write_shard(folder: Path, documents: Sequence[Row], name: str = "shard.parquet") -> Path:
    """A file of documents, as the corpus stage writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(documents), schema=documents_schema(documents)), folder / name)
    return folder / name


def write_thoughts(folder: Path, name: str, rows: Sequence[Row]) -> Path:
    """A file of thoughts."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=THOUGHT), folder / name)
    return folder / name


def shard_of(file: Path, round_: int = 0, earlier_part: str | None = None) -> Shard:
    """A file of documents as the stage hands it to an engine."""
    return Shard(shard_digest(file), str(file), round_, earlier_part)


def keys(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Document and sample of each row."""
    return [(row["doc_id"], row["sample_index"]) for row in rows]


def outcomes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Status and reason of each row."""
    return [(row["status"], row["reason"]) for row in rows]


def complete(engine: Engine, **changed: Any) -> Completion:
    """What an engine says to one request."""
    values = {"doc_id": "web/1", "sample_index": 0, "text": "a text of five words", "seed": 3}
    return asyncio.run(engine.complete(Request(**(values | changed))))


def generate(documents: Sequence[Row], engine: Engine, generation: Generation | None = None) -> list[Row]:
    """The rows of all samples of all documents."""
    generation = generation or generation_of()
    wanted = wanted_of(documents, generation.spec.sampling.num_samples)
    return asyncio.run(generate_rows(wanted, engine, generation))


def make_parts(
    shards: Sequence[Shard], folder: Path, engine: Engine | None = None, generation: Generation | None = None
) -> list[Receipt]:
    """One engine's work on all shards at once."""

    async def all_at_once() -> list[Receipt]:
        meter = Meter(folder, "a session")
        work = EngineWork(engine or FakeEngine(12), generation or generation_of(), folder, "a session", meter)
        receipts = await asyncio.gather(*(work.make_part(shard) for shard in shards))
        meter.say("ended")
        return list(receipts)

    folder.mkdir(parents=True, exist_ok=True)
    return asyncio.run(all_at_once())


def rows_of(folder: Path, receipt: Receipt) -> list[Row]:
    """The rows of a finished part."""
    rows: list[Row] = pq.read_table(folder / receipt.part, schema=THOUGHT).to_pylist()
    return rows


class Says:
    """Says one thing, or raises it."""

    seeds = "request"

    def __init__(self, said: str | Exception) -> None:
        self._said = said

    async def start(self) -> None: ...

    async def complete(self, request: Request) -> Completion:
        if isinstance(self._said, Exception):
            raise self._said
        return Completion(self._said, "stop", 2, 9, len(self._said.split()))

    def close(self) -> None: ...


class LastComesFirst:
    """Waits until so many requests are there and answers the last one first; has one seed for all."""

    seeds = "engine"

    def __init__(self, num_requests: int) -> None:
        self._num_requests = num_requests
        self._waiting: list[asyncio.Future[None]] = []

    async def start(self) -> None: ...

    async def complete(self, request: Request) -> Completion:
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        if len(self._waiting) == self._num_requests:
            for each in reversed(self._waiting):
                each.set_result(None)
        await answered
        return Completion(f"about {request.text}", "stop", 2, 9, 3)

    def close(self) -> None: ...


class NeverAnswers:
    """Holds every request and notes those that are cancelled; dies of a poison."""

    seeds = "request"

    def __init__(self, num_requests: int) -> None:
        self.all_there = asyncio.Barrier(num_requests)
        self.cancelled: list[str] = []

    async def start(self) -> None: ...

    async def complete(self, request: Request) -> Completion:
        try:
            await self.all_there.wait()
            if POISON in request.text:
                raise EngineDied(POISON)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.doc_id)
            raise
        raise AssertionError("an event that nobody sets")

    def close(self) -> None: ...


class Turn:
    """Lets the event loop run everything else that is ready, once."""

    def __await__(self) -> Iterator[None]:
        yield


class DiesWithAllInFlight:
    """Dies of a poison some turns of the loop after it came, and all that is in flight by then dies with it."""

    seeds = "request"

    def __init__(self) -> None:
        self._fake, self._ended = FakeEngine(12), asyncio.Event()
        self.num_starts = self.num_now = self.most_at_once = 0

    async def start(self) -> None:
        self.num_starts += 1
        self._ended = asyncio.Event()

    async def complete(self, request: Request) -> Completion:
        self.num_now += 1
        self.most_at_once = max(self.most_at_once, self.num_now)
        try:
            return await self._complete(request)
        finally:
            self.num_now -= 1

    async def _complete(self, request: Request) -> Completion:
        ended = self._ended
        for number in range(100):
            if ended.is_set():
                raise EngineDied("with all in flight")
            if number == 50 and POISON in request.text:
                ended.set()
            await Turn()
        return await self._fake.complete(request)

    def close(self) -> None: ...
