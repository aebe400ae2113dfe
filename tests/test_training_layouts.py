"""The gradient of a global batch is the same however many workers and accumulations it is divided over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_fixtures import job_of, write_rows
from training_workers import run_groups

from rcpt_ray.records import SEGMENT_KINDS
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.packed_rows import PackedRows

BATCH_ROWS = 4
ZERO_STAGES = (0, 1, 2, 3)
WEIGHTS = {"text": 1.0, "thought": 0.25, "delimiter": 0.0, "bos_eos": 3.0}
LENGTHS = (20, 64, 33, 12, 9, 40, 15)
"""Some of the rows are mostly padding, so micro-batches have unequal weights."""


def gradients(rank: int, num_workers: int, model: Path, parts: list[Path], folder: Path) -> dict[int, Any]:
    """Of one global batch, by ZeRO stage: the full gradients as DeepSpeed is about to use them, and the step's row."""
    from deepspeed.utils import safe_get_full_grad

    from rcpt_ray.training.engine import start_engine
    from rcpt_ray.training.step import run_step

    found = {}
    for stage in ZERO_STAGES:
        settings = {"num_workers": num_workers, "global_batch_rows": BATCH_ROWS, "zero_stage": stage}
        job = job_of(model, folder, parts, loss_weights=WEIGHTS, **settings)
        engine, optimizer = start_engine(job)
        seen: dict[str, Any] = {}

        def step_and_look(
            engine: Any = engine, step: Any = engine.step, seen: dict[str, Any] = seen, stage: int = stage
        ) -> None:
            if engine.is_gradient_accumulation_boundary():
                for name, parameter in engine.module.named_parameters():
                    gradient = safe_get_full_grad(parameter) if stage else parameter.grad
                    seen[name] = gradient.detach().clone().numpy()
            step()

        engine.step = step_and_look
        batches = PackedFeed(parts, job.plan, rank).batches(0)
        assert batches is not None
        row = run_step(engine, optimizer, batches, job, 0)
        found[stage] = (seen, row)
    return found


@pytest.fixture(scope="module")
def by_layout(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[int, Any]]:
    folder = tmp_path_factory.mktemp("layouts")
    parts = write_rows(folder / "rows", LENGTHS)
    sizes = (1, 2, 4)
    found = run_groups(sizes, gradients, (tiny_model_folder, parts, folder), folder)
    return dict(zip(sizes, found, strict=True))


@pytest.fixture(scope="module")
def expected(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By plain autograd: all rows in one batch, the weighted mean over their targets."""
    import torch
    from transformers import AutoModelForCausalLM

    parts = write_rows(tmp_path_factory.mktemp("expected") / "rows", LENGTHS)
    batch = PackedRows(parts).batch([0, 1, 2, 3])
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_model_folder, dtype=torch.float32)
    logits_NV = model(
        input_ids=torch.from_numpy(batch.input_ids_BT),
        position_ids=torch.from_numpy(batch.position_ids_BT),
        use_cache=False,
    ).logits.flatten(0, 1)
    losses_N = torch.nn.functional.cross_entropy(
        logits_NV, torch.from_numpy(batch.target_ids_BT).flatten(), reduction="none"
    )
    weight_of_kind = torch.tensor([0.0, *(WEIGHTS[kind] for kind in SEGMENT_KINDS[1:])])
    weights_N = weight_of_kind[torch.from_numpy(batch.target_kind_BT).long().flatten()]
    ((losses_N * weights_N).sum() / weights_N.sum()).backward()
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def test_rows_of_the_batch_have_unequal_weights(tmp_path: Path) -> None:
    feed = PackedRows(write_rows(tmp_path / "rows", LENGTHS))
    assert feed.num_rows == BATCH_ROWS
    num_targets = (feed.batch([0, 1, 2, 3]).target_kind_BT > 0).sum(axis=1)
    assert num_targets.max() > 1.3 * num_targets.min()


@pytest.mark.parametrize("num_workers", [1, 2, 4])
@pytest.mark.parametrize("stage", ZERO_STAGES)
def test_gradients_are_those_of_one_big_batch(
    by_layout: dict[int, dict[int, Any]], expected: dict[str, Any], stage: int, num_workers: int
) -> None:
    seen, _ = by_layout[num_workers][stage]
    assert seen.keys() == expected.keys()
    for name, gradient in seen.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("stage", ZERO_STAGES)
def test_rows_of_the_step_agree(by_layout: dict[int, dict[int, Any]], expected: dict[str, Any], stage: int) -> None:
    norm = float(np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in expected.values())))
    rows = [by_layout[num_workers][stage][1] for num_workers in (1, 2, 4)]
    for row in rows:
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-4)
        for field in ("loss", "loss_text", "loss_thought", "num_tokens"):
            assert row[field] == pytest.approx(rows[0][field], rel=1e-6)
