"""The plan: every packed row once an epoch, whoever reads it, and a learning rate of the shape that was asked for."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.errors import UserError
from rcpt_ray.training.deepspeed_config import deepspeed_config
from rcpt_ray.training.order import rows_between
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


def test_a_worker_takes_neighbours_so_that_it_reads_few_pieces_of_files() -> None:
    plan = plan_of(spec_of(8, num_workers=2, micro_batch_rows=2), num_rows=5)
    assert rows_of_rank(plan, 0, 0) == [[0, 1], [2, 3]]
    assert rows_of_rank(plan, 0, 1) == [[4, None], [None, None]]


@settings(max_examples=60, deadline=None)
@given(num_rows=st.integers(1, 200), block_rows=st.integers(1, 50), cut=st.integers(0, 200), epoch=st.integers(0, 3))
def test_places_of_an_epoch_give_every_row_once_however_they_are_asked_for(
    num_rows: int, block_rows: int, cut: int, epoch: int
) -> None:
    cut = min(cut, num_rows)
    whole = rows_between(5, epoch, 0, num_rows, num_rows, block_rows)
    assert sorted(whole.tolist()) == list(range(num_rows))
    parts = [rows_between(5, epoch, *ends, num_rows, block_rows) for ends in ((0, cut), (cut, num_rows))]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_rows_of_a_step_lie_close_together_and_batches_of_two_epochs_differ() -> None:
    """Batches of 8 come from one block of 512 neighbours, which another epoch shares out otherwise."""
    plan = plan_of(spec_of(8, num_epochs=2), num_rows=51_200)
    epoch = plan.num_steps // 2
    spans = [np.ptp(np.array(rows_of_step(plan, step), int)) for step in range(64)]
    assert sum(span < plan.block_rows for span in spans) >= len(spans) - 2  # a block may wrap around the end
    batches = {frozenset(rows_of_step(plan, step)) for step in range(64)}
    of_row = {row: step for step in range(epoch, plan.num_steps) for row in rows_of_step(plan, step)}
    again = [len({of_row[row] for row in batch}) for batch in batches]
    assert np.mean(again) > 7, "rows of a batch are hardly ever together again"


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


def test_mixture_without_rows_is_refused_with_its_numbers() -> None:
    with pytest.raises(UserError, match=r"the mixture has 0 packed rows of 16 tokens.*give more documents"):
        plan_of(spec_of(8), num_rows=0)


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


def test_wsd_is_level_at_the_peak_and_then_falls_in_equal_steps() -> None:
    spec = spec_of(learning_rate=0.1, warmup_share=0.2, decay_share=0.4, schedule="wsd", final_learning_rate_share=0.5)
    found = rates(spec, num_steps=10)
    assert found[2:6] == [0.1] * 4
    assert found[6:] == pytest.approx([0.1, 0.0875, 0.075, 0.0625])


@settings(max_examples=100, deadline=None)
@given(
    num_steps=st.integers(1, 60),
    schedule=st.sampled_from(["cosine", "wsd", "constant"]),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda shares: sum(shares) <= 1),
    floor=st.floats(0, 1),
)
def test_rate_rises_stays_and_falls_without_a_jump(
    num_steps: int, schedule: Any, shares: tuple[float, float], floor: float
) -> None:
    warmup_share, decay_share = shares
    spec = spec_of(
        learning_rate=0.1,
        schedule=schedule,
        warmup_share=warmup_share,
        decay_share=decay_share,
        final_learning_rate_share=floor,
    )
    plan, found = plan_of(spec, num_rows=num_steps * 8), rates(spec, num_steps)
    rising, level = plan.num_warmup_steps, num_steps - plan.num_decay_steps
    assert 0 <= rising <= level <= num_steps
    assert found[: rising + 1] == sorted(found[: rising + 1])
    assert found[rising : level + 1] == pytest.approx([0.1] * len(found[rising : level + 1]))
    assert found[level:] == sorted(found[level:], reverse=True)
    steepest = [0.1 / (rising + 1), 0.1 * (1 - floor) * math.pi / 2 / max(1, plan.num_decay_steps)]
    assert all(abs(after - before) <= max(steepest) + 1e-12 for before, after in pairwise(found))
    assert min(found) > 0 and max(found) <= 0.1 + 1e-12
    if rising < num_steps:
        assert found[-1] >= 0.1 * floor - 1e-12, "the rate ends above what it falls to, and never below"


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.8])
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
