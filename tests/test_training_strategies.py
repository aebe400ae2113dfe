"""Every strategy trains: ZeRO 0 to 3, number formats, offload, checkpointing, adapters, attention, new tokens."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from training_fixtures import be_worker, job_of, write_rows

from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.spec import TrainingSpec

LORA = {"rank": 4, "alpha": 8}
STRATEGIES: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "checkpointing": {"gradient_checkpointing": True},
    "eager": {"attention": "eager"},
    "LoRA": {"adapter": LORA},
    "LoRA, bf16, checkpointing": {"adapter": LORA, "precision": "bf16", "gradient_checkpointing": True},
}
OFFLOADED: dict[str, dict[str, Any]] = {
    "offload": {"offload_optimizer": True},
    "offload, bf16": {"offload_optimizer": True, "precision": "bf16"},
    "offload, LoRA": {"offload_optimizer": True, "adapter": LORA},
}
NUM_STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> None:
    be_worker()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_rows(tmp_path_factory.mktemp("rows"), [20, 60, 33, 40, 64, 10, 12, 50])


def steps_of(model_folder: Path, folder: Path, parts: list[Path], **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    """The rows of a few steps, and the engine."""
    import torch

    from rcpt_ray.training.engine import start_engine
    from rcpt_ray.training.step import run_step

    job = job_of(model_folder, folder, parts, global_batch_rows=2, num_epochs=2, learning_rate=0.01, **settings)
    torch.manual_seed(job.plan.seed)
    engine, optimizer = start_engine(job)
    feed = PackedFeed(parts, job.plan, 0)
    return [run_step(engine, optimizer, feed.batches(step) or [], job, step) for step in range(NUM_STEPS)], engine


@pytest.fixture(scope="module")
def reference(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory, parts: list[Path]) -> Any:
    """The rows in fp32 under ZeRO 1, of all parameters and of adapters."""
    folder = tmp_path_factory.mktemp("reference")
    return {
        adapter is not None: steps_of(tiny_model_folder, folder, parts, zero_stage=1, adapter=adapter)[0]
        for adapter in (None, LORA)
    }


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("strategy", [*STRATEGIES, *OFFLOADED])
def test_losses_fall_as_in_fp32_under_zero_1(
    reference: Any, tiny_model_folder: Path, tmp_path: Path, parts: list[Path], strategy: str, stage: int
) -> None:
    if strategy in OFFLOADED and stage == 0:
        pytest.skip("there is no ZeRO optimizer to offload")
    rows, _ = steps_of(tiny_model_folder, tmp_path, parts, zero_stage=stage, **(STRATEGIES | OFFLOADED)[strategy])
    expected = reference["LoRA" in strategy]
    tolerance = 0.02 if "bf16" in strategy else 1e-3
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in expected], abs=tolerance)
    assert rows[0]["grad_norm"] == pytest.approx(expected[0]["grad_norm"], rel=tolerance)
    assert rows[-1]["loss"] < rows[0]["loss"] or strategy.startswith("LoRA") or "LoRA" in strategy


def test_weights_are_fp32_in_the_optimizer_and_bf16_in_the_model(
    tiny_model_folder: Path, tmp_path: Path, parts: list[Path]
) -> None:
    import torch

    _, engine = steps_of(tiny_model_folder, tmp_path, parts, zero_stage=1, precision="bf16")
    assert {parameter.dtype for parameter in engine.module.parameters()} == {torch.bfloat16}
    states = engine.optimizer.optimizer.state
    assert {each.dtype for group in engine.optimizer.optimizer.param_groups for each in group["params"]} == {
        torch.float32
    }
    assert {state["exp_avg"].dtype for state in states.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"precision": "fp16"}, "precision=fp16 needs gpus_per_worker=1"),
        ({"attention": "flash_attention_2"}, "attention=flash_attention_2 needs gpus_per_worker=1"),
        ({"loss_kernel": "cut_cross_entropy"}, "loss_kernel=cut_cross_entropy needs gpus_per_worker=1"),
        ({"offload_optimizer": True, "zero_stage": 0}, "offload_optimizer=true needs zero_stage 1, 2 or 3"),
    ],
)
def test_what_cannot_run_is_refused_by_name(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TrainingSpec(**wrong)
    assert TrainingSpec(**(wrong | {"gpus_per_worker": 1, "zero_stage": 2})).gpus_per_worker == 1
