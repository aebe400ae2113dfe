"""Streaming trainings without workers: shards with thoughts by the fake engine, packed by real packers."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mixture_fixtures import CHARACTERS
from thoughts_fixtures import generation_of, make_parts, shard_of, write_shard

from rcpt_ray.mixture.mix import MixtureInput, components_of
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.thoughts.fake_engine import FakeEngine
from rcpt_ray.thoughts.parts import read_receipts
from rcpt_ray.thoughts.select import make_selection
from rcpt_ray.thoughts.select_spec import SelectSpec
from rcpt_ray.training.plan import TrainingPlan, make_plan
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.stream.arrivals import Arrivals
from rcpt_ray.training.stream.packer import Packer
from rcpt_ray.training.stream.record import Record
from rcpt_ray.training.stream.work import Item, StreamWork

ROW_TOKENS = 256


def plan_of(num_workers: int = 1, batch_rows: int = 4, micro_batch_rows: int = 1) -> TrainingPlan:
    """A plan of 40 steps."""
    spec = TrainingSpec(global_batch_rows=batch_rows, num_workers=num_workers, micro_batch_rows=micro_batch_rows)
    return make_plan(spec, 40 * batch_rows, ROW_TOKENS, seed=17)


def work_of(folder: Path, num_shards: int = 6, plan: TrainingPlan | None = None, **mixture: Any) -> StreamWork:
    """Six shards of five documents each of stem, law and web; their thoughts are finished parts.

    The third document of a shard has no text, so its thought is refused; the last is longer than a row.
    """
    generation, thoughts = generation_of(), folder / "thoughts"
    shards = {}
    for number in range(num_shards):
        rows = []
        for source in ("stem", "law", "web"):
            for place in range(5):
                text = "" if place == 2 else f"{source} {number} {place} " + "word " * (5 + 3 * place + number % 4)
                text += "long " * 60 if place == 4 else ""
                rows.append(
                    {
                        "doc_id": f"{source}/{number}/{place}",
                        "source": source,
                        "domain": source,
                        "text": text,
                        "num_words": len(text.split()),
                        "segment_ends": [],
                    }
                )
        file = write_shard(folder / "corpus", rows, f"part-train-{number:06d}.parquet")
        shards[shard_of(file).digest] = file
    if not read_receipts(thoughts):
        make_parts([shard_of(file) for file in shards.values()], thoughts, FakeEngine(12))
    spec = MixtureSpec.model_validate({"row_tokens": ROW_TOKENS} | mixture)
    given = MixtureInput(list(shards.items()), ["stem", "law", "web"], [])
    return StreamWork(
        generation=generation,
        session="a session",
        thoughts_folder=thoughts,
        folder=folder / "stream",
        shards=shards,
        replay_shards={},
        components=tuple(components_of(given, spec, None)),
        mixture=spec,
        make_selection=partial(make_selection, SelectSpec(min_thought_tokens=1), "", (), None),
        tokenizer=CHARACTERS,
        plan=plan or plan_of(),
        pool_rows=6,
    )


def bring(work: StreamWork, items: Sequence[Item]) -> None:
    """Make items arrive on disk."""
    receipts, arrivals = read_receipts(work.thoughts_folder), Arrivals(work)
    for item in items:
        arrivals.make(item, receipts[item.shard].part if item.kind == "thoughts" else None)


def pack_all(work: StreamWork, packer: Packer, items: Sequence[Item]) -> list[int]:
    """Steps recorded while these items come one by one."""
    steps = []
    for item in items:
        bring(work, [item])
        packer.arrive(item)
        steps += list(packer.batches())
    return steps


def pieces(work: StreamWork) -> list[dict[str, Any]]:
    """Every recorded piece, in the order of the rows."""
    record = Record(work.folder)
    rows = [row for step in range(record.num_batches()) for row in record.read(step)["pieces"].to_pylist()]
    return [piece for row in rows for piece in row]


def documents_once(work: StreamWork) -> Counter[tuple[str, str, int]]:
    """(component, document, repeat) -> tokens recorded of it; a token that stands twice is a failure."""
    tokens, seen = Counter[tuple[str, str, int]](), set[tuple[str, str, int, int]]()
    for piece in pieces(work):
        draw = piece["component"], piece["doc_id"], piece["repeat"]
        assert (*draw, piece["start"]) not in seen, f"{piece} was packed twice"
        seen.add((*draw, piece["start"]))
        tokens[draw] += piece["length"]
    return tokens
