"""The streaming pipeline on Ray Data: engines write, documents are selected and tokenized, one packer makes batches.

    thoughts that are there ─┐
    texts                   ─┼─> arrivals (a few actors) ─> packer (one actor) ─> W elements a batch ─> W workers
    shards ─> engines (pool)─┘

Ray Train executes the data set again for each start of its workers, so it is made anew from what is on disk then:
parts with a receipt are not generated again, items that arrived are not tokenized again, recorded batches are not
packed again, and requests that were in flight when an attempt ended are no suspects of the next one. Engines alone
reserve CPUs and GPUs, beside the workers' own. Rows are handed on one by one (`target_max_block_size=1`), or a batch
would wait for the next ones; the splitter then deals the elements of a batch in turn, and what it deals otherwise is
made good by the feed.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.train
from ray.train import DataConfig

from rcpt_ray.pool_on_ray import through_pool
from rcpt_ray.thoughts.on_ray import EngineActor
from rcpt_ray.thoughts.outcome import look_for_parts
from rcpt_ray.thoughts.parts import Receipt
from rcpt_ray.training.stream.arrivals import Arrivals
from rcpt_ray.training.stream.feed import Element, StreamFeed, deal
from rcpt_ray.training.stream.packer import Packer
from rcpt_ray.training.stream.record import Failure, Record
from rcpt_ray.training.stream.work import Item, StreamWork

_DATA_SET = "stream"
_CPUS_PER_TOKENIZER = 8
_ELEMENT = pa.schema(
    [
        ("step", pa.int64()),
        ("rank", pa.int64()),
        ("num_rows", pa.int64()),
        ("rows", pa.binary()),
        ("is_end", pa.bool_()),
    ]
)


class Pipeline:
    """Makes the data set of a streaming training; called wherever Ray Train starts its workers."""

    def __init__(self, work: StreamWork) -> None:
        self._work = work

    def __call__(self) -> Any:
        work, context = self._work, ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1
        context.target_max_block_size = 1
        receipts, to_do = look_for_parts(work.generation, work.shards, work.thoughts_folder)
        waiting = {shard.digest for shard in to_do}
        ready = [_row(item) for item in work.items() if item.kind == "texts"]
        ready += [{"receipt": own.to_json(), "failure": ""} for shard, own in receipts.items() if shard not in waiting]
        sources = [ray.data.from_items(ready, override_num_blocks=len(ready))] if ready else []
        if to_do:
            shards = [{"shard": json.dumps(asdict(shard))} for shard in to_do]
            sources.append(
                through_pool(
                    ray.data.from_items(shards, override_num_blocks=len(shards)),
                    len(shards),
                    EngineActor,
                    {"folder": str(work.thoughts_folder), "generation": work.generation, "session": work.new_attempt()},
                    work.generation.spec.pool,
                )
            )
        num_tokenizers = max(1, int(ray.cluster_resources().get("CPU", 1)) // _CPUS_PER_TOKENIZER)
        arriving = sources[0].union(*sources[1:]) if len(sources) > 1 else sources[0]
        tokenized = _through_actors(arriving, _ArrivalsActor, work, num_tokenizers)
        return _through_actors(tokenized, _PackerActor, work, 1)


def data_of(work: StreamWork | None) -> dict[str, Any]:
    """The arguments of a trainer that is fed by the stream; nothing where the record alone feeds it."""
    if work is None or Record(work.folder).read_end() is not None:
        return {}
    # With locality Ray Data holds two batches back.
    return {"datasets": {_DATA_SET: Pipeline(work)}, "dataset_config": DataConfig(enable_shard_locality=False)}


def feed_of(work: StreamWork, rank: int) -> StreamFeed:
    """The feed of a rank, from the record alone where that has its end; all workers of a group call it."""
    try:
        shard = ray.train.get_dataset_shard(_DATA_SET)
    except KeyError:
        shard = None
    elements = None if shard is None else _elements(shard)
    return StreamFeed(Record(work.folder), work.session, work.plan, rank, elements)


def _elements(shard: Any) -> Iterator[Element]:
    for row in shard.iter_rows():
        element = Element(**row)
        yield element
        if element.is_end:
            return


def _through_actors(dataset: Any, actor: type, work: StreamWork, most: int) -> Any:
    return dataset.map_batches(
        actor,
        fn_constructor_kwargs={"work": work},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=2),
        num_cpus=0,
    )


def _row(item: Item) -> dict[str, str]:
    return {"receipt": json.dumps({"texts": item.shard}), "failure": ""}


class _ArrivalsActor:
    """Selects, lays out and tokenizes what comes."""

    def __init__(self, work: StreamWork) -> None:
        # It has reserved no CPU; native code would take all there are.
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        self._arrivals = Arrivals(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (said,), (failure,) = batch["receipt"], batch["failure"]
        if failure:
            return {"kind": [""], "shard": [""], "failure": [failure]}
        values = json.loads(said)
        if "texts" in values:
            item, part = Item("texts", values["texts"]), None
        else:
            receipt = Receipt.from_json(said)
            item, part = Item("thoughts", receipt.shard), receipt.part
        self._arrivals.make(item, part)
        return {"kind": [item.kind], "shard": [item.shard], "failure": [""]}


class _PackerActor:
    """The one packer."""

    def __init__(self, work: StreamWork) -> None:
        self._work, self._record = work, Record(work.folder)
        self._packer = Packer(work)
        self._has_ended = False

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        for kind, shard, failure in zip(batch["kind"], batch["shard"], batch["failure"], strict=True):
            if failure or self._has_ended or self._record.read_failure(self._work.session) is not None:
                yield from self._end(failure)
                continue
            self._packer.arrive(Item(kind, shard))
            for step in self._packer.batches():
                for element in deal(self._record, self._work.plan, step):
                    yield _table(element)
            yield from self._end(self._packer.failure())

    def _end(self, failure: str) -> Iterator[pa.Table]:
        """The end for every rank, once, where there is one; a failure is in the record before any rank wakes up."""
        record, session = self._record, self._work.session
        if failure and record.read_failure(session) is None:
            record.fail(session, Failure(record.num_batches(), failure))
        told, end = record.read_failure(session), record.read_end()
        if self._has_ended or (end is None and told is None):
            return
        self._has_ended = True
        num_batches = told.num_batches if told is not None else int(end["num_batches"]) if end is not None else 0
        for rank in range(self._work.plan.num_workers):
            yield _table(Element(num_batches, rank, is_end=True))


def _table(element: Element) -> pa.Table:
    return pa.Table.from_pylist([asdict(element)], schema=_ELEMENT)
