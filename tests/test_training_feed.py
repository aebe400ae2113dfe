"""The feed: rows by index from few row groups, read ahead; no target is another document's; failures are told once."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcpt_ray.errors import UserError
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import PADDING
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.packed_rows import PackedRows
from rcpt_ray.training.plan import make_plan, rows_of_rank
from rcpt_ray.training.spec import TrainingSpec

ROW_TOKENS = 16
GROUP_ROWS = 4


def write_mixture(folder: Path, lengths: Sequence[int], num_parts: int = 1) -> list[Path]:
    """Packed documents in which no token occurs twice; those longer than a row are split."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.arange(100, 100 + sum(lengths), dtype=np.int32)
    kinds = np.concatenate([np.arange(length) % 4 + 1 for length in lengths]).astype(np.int8)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    documents = Documents([f"d{n}" for n in range(len(lengths))], ids, kinds, starts)
    table = pa.concat_tables(pack(documents, ROW_TOKENS, padding_id=0, seed=[1]))
    size = math.ceil(len(table) / num_parts)
    parts = [folder / f"part-{number}.parquet" for number in range(num_parts)]
    for number, part in enumerate(parts):
        pq.write_table(table.slice(number * size, size), part, row_group_size=GROUP_ROWS)
    return parts


def rows_of(folder: Path, lengths: Sequence[int] = (16, 40, 5, 6, 9, 3), num_parts: int = 1) -> PackedRows:
    return PackedRows(write_mixture(folder, lengths, num_parts))


def test_target_is_the_next_token_of_the_same_document(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    batch = rows.batch(range(rows.num_rows))
    segments, has_target = np.cumsum(batch.position_ids_BT == 0, axis=1), batch.target_kind_BT != PADDING
    inside = (segments[:, 1:] == segments[:, :-1]) & (batch.input_ids_BT[:, 1:] != 0)
    assert (has_target[:, :-1] == inside).all()
    assert not has_target[:, -1].any()
    assert (batch.target_ids_BT[:, :-1][inside] == batch.input_ids_BT[:, 1:][inside]).all()


def test_target_has_the_kind_of_the_token_that_it_is(tmp_path: Path) -> None:
    """The document of 16 tokens has a row of its own; its kinds are 1 2 3 4 1 2 ..."""
    batch = rows_of(tmp_path, [16]).batch([0])
    assert batch.target_kind_BT.tolist() == [[*(n % 4 + 1 for n in range(1, 16)), PADDING]]


def test_padding_is_neither_a_target_nor_has_one(tmp_path: Path) -> None:
    batch = rows_of(tmp_path, [5]).batch([0])
    assert (batch.target_kind_BT != PADDING).tolist() == [[True] * 4 + [False] * 12]


def test_empty_row_has_no_targets_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    whole, alone = rows.batch([1, None, 1]), rows.batch([1])
    assert (whole.target_kind_BT[1] == PADDING).all()
    for row in (0, 2):
        assert (whole.target_kind_BT[row] == alone.target_kind_BT[0]).all()
        assert (whole.target_ids_BT[row] == alone.target_ids_BT[0]).all()


def test_batch_of_empty_rows_has_no_targets_and_reads_nothing(tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    batch = rows.batch([None, None])
    assert batch.input_ids_BT.shape == (2, ROW_TOKENS)
    assert (batch.target_kind_BT == PADDING).all()
    assert rows.num_decoded == 0


def test_rows_are_the_same_however_many_parts_hold_them(tmp_path: Path) -> None:
    one, three = rows_of(tmp_path / "one"), rows_of(tmp_path / "three", num_parts=3)
    assert one.num_rows == three.num_rows == 5
    assert (one.batch([4, 0, 3]).input_ids_BT == three.batch([4, 0, 3]).input_ids_BT).all()


NUM_ROWS = 4000
LENGTHS = [ROW_TOKENS] * NUM_ROWS  # a document a row


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """4,000 rows in 1,000 row groups of five parts."""
    return write_mixture(tmp_path_factory.mktemp("mixture"), LENGTHS, num_parts=5)


def feed_of(parts: Sequence[Path], num_workers: int = 1, rank: int = 0, **changed: Any) -> PackedFeed:
    spec = TrainingSpec(**({"global_batch_rows": 64, "num_workers": num_workers} | changed))
    return PackedFeed(parts, make_plan(spec, NUM_ROWS, ROW_TOKENS, seed=17), rank)


def read(feed: PackedFeed, first: int, stop: int) -> list[list[Batch]]:
    """The steps first to stop of a feed, which is closed then."""
    feed.start(first)
    steps = [batches for step in range(first, stop) if (batches := feed.batches(step)) is not None]
    feed.close()
    return steps


def tokens_of(batches: Sequence[Batch]) -> list[bytes]:
    """Rows as comparable values."""
    return sorted(row.tobytes() for batch in batches for row in batch.input_ids_BT)


def test_steps_have_the_same_rows_on_one_two_and_four_workers(mixture: list[Path]) -> None:
    one, two, four = (
        [read(feed_of(mixture, num_workers, rank), 30, 40) for rank in range(num_workers)] for num_workers in (1, 2, 4)
    )
    for step in range(10):
        alone = tokens_of(one[0][step])
        assert len(alone) == 64
        for ranks in (two, four):
            assert tokens_of([batch for rank in ranks for batch in rank[step]]) == alone


def test_start_in_the_middle_goes_on_with_the_exact_next_batch(mixture: list[Path]) -> None:
    whole, rest = read(feed_of(mixture, 2, 1), 0, 20), read(feed_of(mixture, 2, 1), 13, 20)
    for before, after in zip(whole[13:], rest, strict=True):
        for one, other in zip(before, after, strict=True):
            assert all((a == b).all() for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


@pytest.mark.parametrize("num_workers", [1, 4])
def test_rank_decodes_each_row_group_about_once_and_few_that_it_does_not_use(
    mixture: list[Path], num_workers: int
) -> None:
    """An epoch has 1,000 row groups; a rank's share of a block begins and ends within a group."""
    feeds = [feed_of(mixture, num_workers, rank) for rank in range(num_workers)]
    num_steps = len(read(feeds[0], 0, 100))
    for feed in feeds[1:]:
        read(feed, 0, 100)
    assert num_steps == math.ceil(NUM_ROWS / 64)
    num_groups = feeds[0].rows.num_groups
    assert num_groups == NUM_ROWS // GROUP_ROWS
    # A rank's share of a block is not quite the same from step to step.
    share = 1.05 if num_workers == 1 else 0.5
    assert all(feed.rows.num_decoded <= share * num_groups for feed in feeds)


def test_step_touches_few_row_groups_of_a_large_mixture(mixture: list[Path]) -> None:
    """One batch of 8 rows opens 8 groups at most, and the next 63 of its block only what is left of 128."""
    feed = feed_of(mixture, global_batch_rows=8)
    read(feed, 0, 1)
    assert feed.rows.num_decoded <= 8 * 3  # it has read two steps ahead
    feed = feed_of(mixture, global_batch_rows=8)
    read(feed, 0, 61)
    assert feed.rows.num_decoded <= 512 / GROUP_ROWS + 2


def test_documents_of_a_step_are_those_of_its_rows_on_all_workers(mixture: list[Path]) -> None:
    feed = feed_of(mixture, num_workers=2, rank=1)
    assert feed.batches(7) is not None
    names = feed.doc_ids(7)
    assert len(names) == len(set(names)) == 64
    feed.close()
    plan = make_plan(TrainingSpec(global_batch_rows=64), NUM_ROWS, ROW_TOKENS, 17)
    rows = [row for rank in range(2) for batch in rows_of_rank(plan, 7, rank) for row in batch]
    table = pa.concat_tables([pq.read_table(part) for part in mixture])
    assert set(names) == {name for row in rows for name in table["doc_ids"][row].as_py()}


def test_feed_ends_after_its_last_step(mixture: list[Path]) -> None:
    feed = feed_of(mixture, num_epochs=2)
    feed.start(124)
    assert (feed.batches(124), feed.batches(125)) != (None, None)
    assert feed.batches(125 + 1) is None
    assert [feed.ends_with(step) for step in (123, 124, 125)] == [False, True, True]
    feed.close()


def test_closing_ends_the_thread_that_reads_ahead(mixture: list[Path]) -> None:
    feed = feed_of(mixture)
    feed.start(0)
    feed.batches(0)
    assert feed_threads()
    feed.close()
    assert not feed_threads()


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_missing_part_is_told_at_the_start(tmp_path: Path) -> None:
    parts = write_mixture(tmp_path, LENGTHS[:40], num_parts=4)
    parts[2].unlink()
    plan = make_plan(TrainingSpec(), 40, ROW_TOKENS, 17)
    with pytest.raises(UserError, match=r"part-2\.parquet is missing.*run the same command again"):
        PackedFeed(parts, plan, 0)
    with pytest.raises(UserError, match="hold 30 rows but its manifest says 40; bring back the files"):
        PackedFeed([part for part in parts if part.exists()], plan, 0)


def remove(part: Path) -> None:
    part.unlink()


def cut_short(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [remove, cut_short])
def test_part_spoilt_in_the_middle_is_one_error_where_its_step_is_asked_for(tmp_path: Path, spoil: Any) -> None:
    """The thread meets it while reading ahead; the steps before are still to be had."""
    parts = write_mixture(tmp_path, LENGTHS[:3000], num_parts=5)
    plan = make_plan(TrainingSpec(global_batch_rows=64), 3000, ROW_TOKENS, 17)
    feed = PackedFeed(parts, plan, 0)
    feed.start(0)
    assert feed.batches(0) is not None
    for part in parts:
        spoil(part)
    with pytest.raises(UserError, match=r"training: .*part-\d\.parquet (is missing|cannot be read)") as caught:
        for step in range(1, plan.num_steps):
            feed.batches(step)
    assert str(caught.value).count("part-") == 1
    feed.close()
    assert not feed_threads()
