"""Every document into one batch once, through ends of packers and beside others; workers get what is recorded."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mixture_fixtures import packed_documents
from stream_fixtures import ROW_TOKENS, bring, documents_once, pack_all, pieces, plan_of, work_of

from rcpt_ray.errors import UserError
from rcpt_ray.mixture.pack import assign_rows
from rcpt_ray.records import PADDING
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.stream.arrivals import documents_of, read_arrived
from rcpt_ray.training.stream.feed import Element, StreamFeed, deal
from rcpt_ray.training.stream.packer import Packer
from rcpt_ray.training.stream.record import Failure, Record, compact
from rcpt_ray.training.stream.running_blend import TOLERANCE

BLEND = {"weights": {"stem/thought": 0.5, "law/raw": 0.3, "web/raw": 0.2}, "documents": "all"}


def expected(work: Any) -> dict[tuple[str, str, int], int]:
    """Every document that arrived, once, with its tokens."""
    arrived = [one for item in work.items() for one in documents_of(work, item)]
    return {(one.component, one.doc_id, 0): one.num_tokens for one in arrived}


def test_every_document_is_recorded_once_with_all_its_tokens(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    steps = pack_all(work, Packer(work), work.items())
    end = Record(work.folder).read_end()
    assert end is not None
    assert steps == list(range(end["num_batches"]))
    assert documents_once(work) == expected(work)
    assert (sum(end["num_candidates"].values()), end["rejected"]) == (72, {"empty_text": 18})


def test_rows_say_what_the_documents_say(tmp_path: Path) -> None:
    """A document longer than a row stands in several; each piece has its own positions from 0."""
    work = work_of(tmp_path, num_shards=2)
    pack_all(work, Packer(work), work.items())
    record = Record(work.folder)
    rows = [row for step in range(record.num_batches()) for row in record.read(step).to_pylist()]
    said: dict[str, dict[int, str]] = {}
    for (doc_id, text), piece in zip(packed_documents(rows), pieces(work), strict=True):
        assert doc_id == piece["doc_id"]
        said.setdefault(doc_id, {})[piece["start"]] = text
    for shard in work.shards.values():
        for document in pq.read_table(shard).to_pylist():
            if document["text"]:
                whole = "".join(text for _, text in sorted(said[document["doc_id"]].items()))
                assert whole.endswith(document["text"])
                assert whole.startswith("<thought>")


def test_batches_come_before_the_thoughts_are_all_there(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    assert pack_all(work, Packer(work), work.items()[:4])
    assert Record(work.folder).read_end() is None


def test_all_batches_but_the_last_have_the_rows_of_a_step(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    steps = pack_all(work, Packer(work), work.items())
    sizes = [len(Record(work.folder).read(step)) for step in steps]
    assert set(sizes[:-1]) == {4}
    assert 1 <= sizes[-1] <= 4


def test_pool_packs_nearly_as_well_as_all_documents_at_once(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    steps = pack_all(work, Packer(work), work.items())
    num_rows = sum(len(Record(work.folder).read(step)) for step in steps)
    lengths = [piece["length"] for piece in pieces(work)]
    assert num_rows <= len(assign_rows(lengths, ROW_TOKENS)) + 3


@pytest.mark.parametrize("mixture", [{}, BLEND, {**BLEND, "num_tokens": 30_000, "max_repeats": 3.0}])
def test_packer_that_begins_again_loses_nothing_and_repeats_nothing(tmp_path: Path, mixture: dict[str, Any]) -> None:
    """A new packer after each arrival, as if every one had been killed: the documents are those of one that lived."""
    work, whole = work_of(tmp_path / "killed", **mixture), work_of(tmp_path / "whole", **mixture)
    for item in work.items():
        bring(work, [item])
        list(Packer(work).batches())
    pack_all(whole, Packer(whole), whole.items())
    killed, lived = documents_once(work), documents_once(whole)
    if not mixture:
        assert killed == lived == expected(work)
    sizes = {draw[:2]: tokens for draw, tokens in expected(work).items()}
    assert all(tokens == sizes[draw[:2]] for draw, tokens in killed.items()), "a document was packed in part"
    for component, share in work.mixture.shares.items() if work.mixture.shares else ():
        for found in (killed, lived):
            of_component = sum(tokens for draw, tokens in found.items() if draw[0] == component)
            a_document = max(sizes.values()) / found.total()
            assert of_component / found.total() == pytest.approx(share, abs=TOLERANCE + a_document)
    if mixture.get("num_tokens"):
        assert abs(killed.total() - 30_000) <= max(sizes.values())
        assert abs(lived.total() - 30_000) <= max(sizes.values())


def test_packer_left_over_from_an_earlier_attempt_makes_no_second_version(tmp_path: Path) -> None:
    """Two packers get the same items in different orders, turn about; each batch is of one of them."""
    work = work_of(tmp_path)
    zombie, packer = Packer(work), Packer(work)
    bring(work, work.items())
    items = work.items()
    recorded: dict[int, Any] = {}
    for one, other in zip(items, reversed(items), strict=True):
        zombie.arrive(one)
        packer.arrive(other)
        for either in (zombie, packer):
            for step in either.batches():
                assert step not in recorded
                recorded[step] = Record(work.folder).read(step)
    assert documents_once(work) == expected(work)
    assert all(Record(work.folder).read(step) == table for step, table in recorded.items())


def test_item_that_arrived_stays_what_it_was(tmp_path: Path) -> None:
    """Its rejected thoughts may be tried again by another command; what this training has seen does not change."""
    work = work_of(tmp_path)
    item = work.items()[0]
    bring(work, [item])
    first = documents_of(work, item)
    for part in work.thoughts_folder.glob("part-*.parquet"):
        pq.write_table(pq.read_table(part).slice(0, 0), part)
    bring(work, [item])
    assert documents_of(work, item) == first
    assert read_arrived(work, work.items()[1]) is None


def test_too_many_rejected_thoughts_are_told_in_a_sentence(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    strict = work.generation.spec.model_copy(update={"max_rejected_share": 0.1})
    work = replace(work, generation=work.generation.with_spec(strict))
    packer = Packer(work)
    pack_all(work, packer, work.items())
    assert packer.failure().startswith("thoughts.max_rejected_share=0.1: the engine rejected 18 of 90")


def test_blend_of_which_nothing_can_be_drawn_is_told_in_a_sentence(tmp_path: Path) -> None:
    work = work_of(tmp_path, num_tokens=1)
    packer = Packer(work)
    pack_all(work, packer, work.items())
    assert packer.failure().startswith("training.feed=stream: no document could be drawn")


def ids(batches: list[Batch] | None) -> list[list[int]]:
    """The real rows of micro-batches, in order."""
    assert batches is not None
    return [
        row.tolist()
        for batch in batches
        for row, kinds in zip(batch.input_ids_BT, batch.target_kind_BT, strict=True)
        if (kinds != PADDING).any()
    ]


def elements_for(work: Any, rank: int, recorded: threading.Event, turned: bool) -> Iterator[Element]:
    """What the splitter deals to a rank: its own, or its neighbour's."""
    recorded.wait()
    record, num_workers = Record(work.folder), work.plan.num_workers
    num_batches = record.num_batches()
    for step in range(num_batches):
        yield list(deal(record, work.plan, step))[(rank + turned) % num_workers]
    yield Element(num_batches, rank, is_end=True)


def never() -> Iterator[Element]:
    """A stream of which nothing comes any more, nor its end."""
    threading.Event().wait()
    yield from ()


def feed_by(work: Any, elements: Iterator[Element] | None, rank: int = 0) -> StreamFeed:
    return StreamFeed(Record(work.folder), work.session, work.plan, rank, elements)


@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.parametrize("given", ["dealt", "turned", "held", "lost", "recorded"])
def test_workers_share_each_recorded_batch_whatever_they_are_dealt(
    tmp_path: Path, num_workers: int, given: str
) -> None:
    work, recorded = work_of(tmp_path, num_shards=3, plan=plan_of(num_workers)), threading.Event()

    def feed_of(rank: int) -> StreamFeed:
        elements = elements_for(work, rank, recorded, given == "turned")
        if given in ("lost", "held"):
            elements = iter([]) if given == "lost" else never()
        return feed_by(work, None if given == "recorded" else elements, rank)

    feeds = [] if given == "recorded" else [feed_of(rank) for rank in range(num_workers)]  # no batch is there yet
    pack_all(work, Packer(work), work.items())
    recorded.set()
    feeds = feeds or [feed_of(rank) for rank in range(num_workers)]
    record = Record(work.folder)
    for step in range(record.num_batches()):
        rows = [row for feed in feeds for row in ids(feed.batches(step))]
        assert sorted(rows) == sorted(record.read(step)["input_ids"].to_pylist())
    assert all(feed.batches(record.num_batches()) is None for feed in feeds)


def test_failure_comes_after_the_batches_that_were_recorded(tmp_path: Path) -> None:
    """So that all ranks leave at the same step, however much each of them read from the record."""
    work = work_of(tmp_path)
    feeds = [feed_by(work, iter([Element(2, 0, is_end=True)])), feed_by(work, never())]
    pack_all(work, Packer(work), work.items()[:5])
    feeds += [feed_by(work, iter([Element(2, 0, is_end=True)])), feed_by(work, never())]
    record = Record(work.folder)
    assert record.num_batches() > 2, "one more was made while the failure was told"
    record.fail("another command", Failure(0, "no disk"))
    record.fail(work.session, Failure(2, "no engine"))
    record.fail(work.session, Failure(1, "a later one"))
    for step in range(2):
        first, *others = (ids(feed.batches(step)) for feed in feeds)
        assert others == [first] * 3
    for feed in feeds:
        with pytest.raises(UserError, match="no engine"):
            feed.batches(2)


def test_packer_that_follows_one_that_could_not_go_on_makes_no_more_batches(tmp_path: Path) -> None:
    """The news of the first one may be lost with it; the record has it before anybody is told."""
    from rcpt_ray.training.stream.on_ray import _PackerActor

    work = work_of(tmp_path)
    bring(work, work.items())
    text = {"kind": ["texts"], "shard": ["nobody's"], "failure": [""]}
    told = [row for table in _PackerActor(work)(text | {"failure": ["no engine"]}) for row in table.to_pylist()]
    assert [(row["step"], row["is_end"]) for row in told] == [(0, True)]
    assert [row for table in _PackerActor(work)(text) for row in table.to_pylist()] == told
    assert Record(work.folder).num_batches() == 0
    with pytest.raises(UserError, match="no engine"):
        feed_by(work, never()).batches(0)
    another = replace(work, session="the next command")
    assert [row for table in _PackerActor(another)(text) for row in table.to_pylist()][-1]["step"] > 0


def test_element_of_an_earlier_step_that_comes_late_is_left_aside(tmp_path: Path) -> None:
    work, recorded = work_of(tmp_path, num_shards=3), threading.Event()
    late = feed_by(work, elements_for(work, 0, recorded, turned=False))
    steps = pack_all(work, Packer(work), work.items())
    record = Record(work.folder)
    first = ids(late.batches(0))
    recorded.set()
    found = [first, *(ids(late.batches(step)) for step in steps[1:])]
    assert [sorted(rows) for rows in found] == [sorted(record.read(step)["input_ids"].to_pylist()) for step in steps]
    assert late.batches(len(steps)) is None


def test_batch_of_a_packer_that_was_left_over_does_not_count_behind_the_end(tmp_path: Path) -> None:
    work = work_of(tmp_path, num_shards=3)
    live = feed_by(work, never())
    steps = pack_all(work, Packer(work), work.items())
    record = Record(work.folder)
    assert record.append(len(steps), record.read(0))
    assert record.num_batches() == len(steps)
    assert live.batches(len(steps)) is None
    assert feed_by(work, None).batches(len(steps)) is None


def test_stream_that_breaks_off_is_an_error_of_the_attempt(tmp_path: Path) -> None:
    def breaks() -> Any:
        raise ConnectionError("the pipeline's process is gone")
        yield

    feed = StreamFeed(Record(tmp_path), "a session", plan_of(), 0, breaks())
    with pytest.raises(ConnectionError):
        feed.batches(0)
    with pytest.raises(RuntimeError, match="the record has no end"):
        StreamFeed(Record(tmp_path), "a session", plan_of(), 0, iter([])).batches(0)


def test_compact_record_holds_every_row_of_every_step_in_order(tmp_path: Path) -> None:
    work = work_of(tmp_path)
    steps = pack_all(work, Packer(work), work.items())
    record = Record(work.folder)
    compact(record, len(steps), tmp_path / "record")
    (part,) = (tmp_path / "record").glob("*.parquet")
    table = pq.read_table(part)
    counted = np.bincount(table["step"].to_numpy())
    assert counted.tolist() == [len(record.read(step)) for step in steps]
    assert table.drop_columns("step").slice(0, 4) == record.read(0)
