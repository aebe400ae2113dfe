"""Every packed row is trained on once an epoch, whoever reads it, and no target is another document's."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import PADDING
from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.feed import Batch, PackedFeed
from rcpt_ray.training.plan import (
    TrainingPlan,
    learning_rate,
    make_plan,
    rows_of_rank,
    rows_of_step,
)
from rcpt_ray.training.spec import TrainingSpec

ROW_TOKENS = 16


def spec_of(batch_rows: int = 8, num_workers: int = 1, micro_batch_rows: int = 1, **changed: Any) -> TrainingSpec:
    sizes = {"global_batch_rows": batch_rows, "num_workers": num_workers, "micro_batch_rows": micro_batch_rows}
    return TrainingSpec(**(sizes | changed))


def plan_of(spec: TrainingSpec, num_rows: int, seed: int = 17) -> TrainingPlan:
    return make_plan(spec, num_rows, ROW_TOKENS, seed)


def steps(plan: TrainingPlan) -> list[list[int | None]]:
    return [rows_of_step(plan, step) for step in range(plan.num_steps)]


@st.composite
def specs(draw: st.DrawFn) -> TrainingSpec:
    """Any workers, micro-batches and accumulations."""
    workers, micro_batch, accumulations = draw(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)))
    batch = workers * micro_batch * accumulations
    return spec_of(batch, workers, micro_batch, num_epochs=draw(st.integers(1, 3)))


@settings(max_examples=60, deadline=None)
@given(spec=specs(), num_rows=st.integers(1, 70))
def test_rows_of_a_step_are_micro_batches_times_accumulations_times_workers(spec: TrainingSpec, num_rows: int) -> None:
    plan = plan_of(spec, num_rows)
    assert plan.micro_batch_rows * plan.num_accumulations * plan.num_workers == plan.global_batch_rows
    assert plan.num_steps == math.ceil(num_rows * spec.num_epochs / spec.global_batch_rows)
    for rank in range(plan.num_workers):
        micro_batches = rows_of_rank(plan, 0, rank)
        assert [len(rows) for rows in micro_batches] == [plan.micro_batch_rows] * plan.num_accumulations


@settings(max_examples=60, deadline=None)
@given(spec=specs(), num_rows=st.integers(1, 70), seed=st.integers(0, 2**31 - 1))
def test_every_row_is_read_exactly_once_an_epoch(spec: TrainingSpec, num_rows: int, seed: int) -> None:
    plan = plan_of(spec, num_rows, seed)
    read = [row for rows in steps(plan) for row in rows if row is not None]
    for epoch in range(spec.num_epochs):
        assert sorted(read[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))
    assert len(read) == num_rows * spec.num_epochs


def as_key(row: int | None) -> int:
    return -1 if row is None else row


@settings(max_examples=60, deadline=None)
@given(spec=specs(), num_rows=st.integers(1, 70))
def test_workers_share_the_rows_of_a_step_without_rest(spec: TrainingSpec, num_rows: int) -> None:
    plan = plan_of(spec, num_rows)
    for step in range(plan.num_steps):
        shared = [row for rank in range(plan.num_workers) for rows in rows_of_rank(plan, step, rank) for row in rows]
        assert sorted(map(as_key, shared)) == sorted(map(as_key, rows_of_step(plan, step)))


def test_a_step_has_the_same_rows_for_one_two_and_four_workers() -> None:
    """So a run may go on with more or fewer workers than it began with."""
    one, *others = [steps(plan_of(spec_of(8, workers, num_epochs=2), num_rows=27)) for workers in (1, 2, 4)]
    assert all(other == one for other in others)


def test_micro_batches_go_round_the_workers() -> None:
    plan = plan_of(spec_of(8, num_workers=2, micro_batch_rows=2), num_rows=8)
    a, b, c, d = (rows_of_step(plan, 0)[start : start + 2] for start in (0, 2, 4, 6))
    assert (rows_of_rank(plan, 0, 0), rows_of_rank(plan, 0, 1)) == ([a, c], [b, d])


def test_last_batch_is_filled_with_empty_rows_and_no_other_is() -> None:
    *full, last = steps(plan_of(spec_of(8), num_rows=19))
    assert all(None not in rows for rows in full)
    assert (last[:3].count(None), last[3:]) == (0, [None] * 5)


def test_fewer_rows_than_a_batch_are_one_step() -> None:
    (rows,) = steps(plan_of(spec_of(8), num_rows=3))
    assert sorted(rows[:3], key=as_key) == [0, 1, 2]
    assert rows[3:] == [None] * 5


def test_order_of_rows_follows_seed_and_epoch() -> None:
    first, second = steps(plan_of(spec_of(40, num_epochs=2), num_rows=40))
    (other,) = steps(plan_of(spec_of(40), num_rows=40, seed=18))
    assert len({tuple(first), tuple(second), tuple(other)}) == 3
    assert steps(plan_of(spec_of(40), num_rows=40)) == [first]


def rates(spec: TrainingSpec, num_steps: int) -> list[float]:
    plan = plan_of(spec, num_rows=num_steps * spec.global_batch_rows)
    return [learning_rate(spec, plan, step) for step in range(num_steps)]


def test_learning_rate_rises_in_equal_steps_to_its_peak() -> None:
    found = rates(spec_of(learning_rate=0.1, warmup_share=0.4, schedule="constant"), num_steps=10)
    assert found == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 6])


def test_cosine_falls_from_the_peak_to_a_tenth_of_it() -> None:
    spec = spec_of(learning_rate=0.1, warmup_share=0.1, schedule="cosine")
    found = rates(spec, num_steps=1000)
    assert max(found) == found[100] == pytest.approx(0.1)
    assert found[100:] == sorted(found[100:], reverse=True)
    assert found[550] == pytest.approx((0.1 + 0.01) / 2)
    assert found[-1] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_no_step_of_a_short_run_is_wasted(schedule: Any, warmup_share: float, num_steps: int) -> None:
    found = rates(spec_of(learning_rate=0.1, warmup_share=warmup_share, schedule=schedule), num_steps)
    assert all(0 < rate <= 0.1 for rate in found)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_deepspeed_is_told_what_the_plan_says(precision: str) -> None:
    spec = spec_of(12, num_workers=2, micro_batch_rows=3, max_grad_norm=0.5, zero_stage=1)
    config = deepspeed_config(spec, plan_of(spec, num_rows=30), precision)
    sizes = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
    assert (config["train_batch_size"], *sizes) == (12, 3, 2)
    assert config["train_batch_size"] == math.prod(sizes) * spec.num_workers
    assert (config["gradient_clipping"], config["zero_optimization"]["stage"]) == (0.5, 1)
    assert config["bf16"]["enabled"] is (precision == "bf16")


def feed_of(folder: Path, lengths: Sequence[int] = (16, 40, 5, 6, 9, 3), num_parts: int = 1) -> PackedFeed:
    """Packed documents in which no token occurs twice; those longer than a row are split."""
    ids = np.arange(100, 100 + sum(lengths), dtype=np.int32)
    kinds = np.concatenate([np.arange(length) % 4 + 1 for length in lengths]).astype(np.int8)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    documents = Documents([f"d{n}" for n in range(len(lengths))], ids, kinds, starts)
    table = pa.concat_tables(pack(documents, ROW_TOKENS, padding_id=0, seed=[1]))
    size = math.ceil(len(table) / num_parts)
    parts = [folder / f"part-{number}.parquet" for number in range(num_parts)]
    for number, part in enumerate(parts):
        write_table(part, table.slice(number * size, size))
    return PackedFeed(parts)


def segments_of(batch: Batch) -> np.ndarray[Any, Any]:
    """Numbers of the documents in each row, told by positions that begin again."""
    return np.cumsum(batch.position_ids_BT == 0, axis=1)


def test_target_is_the_next_token_of_the_same_document(tmp_path: Path) -> None:
    feed = feed_of(tmp_path)
    batch = feed.batch(list(range(feed.num_rows)))
    segments, has_target = segments_of(batch), batch.target_kind_BT != PADDING
    inside = (segments[:, 1:] == segments[:, :-1]) & (batch.input_ids_BT[:, 1:] != 0)
    assert (has_target[:, :-1] == inside).all()
    assert not has_target[:, -1].any()
    assert (batch.target_ids_BT[:, :-1][inside] == batch.input_ids_BT[:, 1:][inside]).all()


def test_target_has_the_kind_of_the_token_that_it_is(tmp_path: Path) -> None:
    """The document of 16 tokens has a row of its own; its kinds are 1 2 3 4 1 2 ..."""
    batch = feed_of(tmp_path, [16]).batch([0])
    assert batch.target_kind_BT.tolist() == [[*(n % 4 + 1 for n in range(1, 16)), PADDING]]


def test_padding_is_neither_a_target_nor_has_one(tmp_path: Path) -> None:
    batch = feed_of(tmp_path, [5]).batch([0])
    assert (batch.target_kind_BT != PADDING).tolist() == [[True] * 4 + [False] * 12]


def test_empty_row_has_no_targets_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    feed = feed_of(tmp_path)
    whole, alone = feed.batch([1, None, 1]), feed.batch([1])
    assert (whole.target_kind_BT[1] == PADDING).all()
    for row in (0, 2):
        assert (whole.target_kind_BT[row] == alone.target_kind_BT[0]).all()
        assert (whole.target_ids_BT[row] == alone.target_ids_BT[0]).all()
    assert (feed.batch([1]).target_kind_BT == alone.target_kind_BT).all()


def test_batch_of_empty_rows_has_no_targets(tmp_path: Path) -> None:
    batch = feed_of(tmp_path).batch([None, None])
    assert batch.input_ids_BT.shape == (2, ROW_TOKENS)
    assert (batch.target_kind_BT == PADDING).all()


def test_rows_are_the_same_however_many_parts_hold_them(tmp_path: Path) -> None:
    one, three = feed_of(tmp_path / "one"), feed_of(tmp_path / "three", num_parts=3)
    assert (one.num_rows, one.row_tokens) == (three.num_rows, three.row_tokens) == (5, ROW_TOKENS)
    rows: list[int | None] = [4, 0, 3]
    assert (one.batch(rows).input_ids_BT == three.batch(rows).input_ids_BT).all()
