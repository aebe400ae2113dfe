"""A training that is killed goes on as if nothing had happened, on as many workers as there are then."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from training_runs import (
    assert_same_training,
    finish,
    job_of,
    last_masters,
    losses,
    run_until_killed,
    weights,
    write_mixture,
)

NUM_STEPS = 10
NUM_ROWS = 4 * NUM_STEPS - 2
"""So that the last batch has empty rows."""
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), NUM_ROWS)


@pytest.fixture(scope="module")
def model_in_fp32(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with its weights in fp32."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("models") / "fp32"
    shutil.copytree(tiny_model_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: one.float() for name, one in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run_with_kills(folder: Path, model: Path, mixture: Path, kills: Sequence[int], **settings: Any) -> Path:
    """Train with a kill -9 of all ranks after each of these steps, then to the end."""
    job = job_of(folder, model, mixture, NUM_ROWS, **settings)
    for step in kills:
        run_until_killed(job, step)
    finish(job)
    return folder


def test_killed_after_three_steps_and_three_more_it_is_the_same_training(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path
) -> None:
    settings = {"zero_stage": 2, "num_workers": 2, "checkpoint_every_steps": 3, "precision": "bf16"}
    whole = run_with_kills(tmp_path / "whole", tiny_model_folder, mixture, [], **settings)
    parts = run_with_kills(tmp_path / "parts", tiny_model_folder, mixture, [3, 6], **settings)
    assert len(losses(whole)) == NUM_STEPS
    assert losses(whole)[-1] < losses(whole)[0]
    assert_same_training(whole, parts)
    kept = {name: weight.numel() for name, weight in last_masters(whole).items()}
    assert kept == {name: weight.numel() for name, weight in weights(whole).items()}


def test_workers_may_come_and_go(tmp_path: Path, tiny_model_folder: Path, mixture: Path) -> None:
    """Two workers for 3 steps, one for 3, two for the rest: the same batches, losses but for rounding."""
    settings = {"zero_stage": 1, "checkpoint_every_steps": 3, "precision": "fp32"}
    whole = run_with_kills(tmp_path / "whole", tiny_model_folder, mixture, [], num_workers=2, **settings)
    changing = tmp_path / "changing"
    run_until_killed(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, **settings), 3)
    run_until_killed(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=1, **settings), 6)
    finish(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, **settings))
    assert losses(changing) == pytest.approx(losses(whole), abs=1e-4)
    assert losses(changing)[:3] == losses(whole)[:3]
    assert losses(changing) != losses(whole), "one worker adds in another order than two"


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_kills_change_nothing(
    tmp_path: Path, model_in_fp32: Path, mixture: Path, zero_stage: int, adapter: dict[str, Any] | None
) -> None:
    """Weights are compared as the optimizer has them, since a base in fp32 is saved without rounding."""
    settings = {"zero_stage": zero_stage, "adapter": adapter, "num_workers": 2, "precision": "bf16"}
    whole, once, twice = (
        run_with_kills(tmp_path / name, model_in_fp32, mixture, kills, checkpoint_every_steps=every, **settings)
        for name, kills, every in (("whole", [], 3), ("once", [5], 5), ("twice", [3, 6], 3))
    )
    assert losses(once) == losses(whole)
    assert differing(weights(once), weights(whole)) == []
    assert_same_training(whole, twice)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [1, 2])
def test_a_resume_that_had_forgotten_something_would_be_seen(
    tmp_path: Path, model_in_fp32: Path, mixture: Path, zero_stage: int
) -> None:
    """The second moment of one parameter, halved in the checkpoint, is in the weights at the end; nothing else is."""
    settings = {"zero_stage": zero_stage, "precision": "bf16", "checkpoint_every_steps": 5}
    job = job_of(tmp_path / "killed", model_in_fp32, mixture, NUM_ROWS, **settings)
    run_until_killed(job, 5)
    ends = []
    for name, share in (("as it was", 1.0), ("spoilt", 0.5)):
        folder = tmp_path / name
        shutil.copytree(job.folder, folder)
        scale_moment(folder, "model.norm.weight", share)
        finish(job_of(folder, model_in_fp32, mixture, NUM_ROWS, **settings))
        ends.append(weights(folder))
    whole = run_with_kills(tmp_path / "whole", model_in_fp32, mixture, [], **settings)
    assert differing(ends[0], weights(whole)) == []
    assert "model.norm.weight" in differing(ends[1], weights(whole))


def test_the_number_format_of_the_first_attempt_stays(tmp_path: Path, model_in_fp32: Path, mixture: Path) -> None:
    """Begun where auto is bf16, gone on with where it is fp32; here both are told."""
    whole = run_with_kills(tmp_path / "whole", model_in_fp32, mixture, [], precision="bf16", checkpoint_every_steps=3)
    moved = tmp_path / "moved"
    settings: dict[str, Any] = {"checkpoint_every_steps": 3}
    run_until_killed(job_of(moved, model_in_fp32, mixture, NUM_ROWS, precision="bf16", **settings), 6)
    finish(job_of(moved, model_in_fp32, mixture, NUM_ROWS, precision="fp32", **settings))
    assert_same_training(whole, moved)
    assert json.loads((moved / "peak.json").read_text())["precision"] == "bf16"


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of weights that are not the same to the bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not one[name].equal(other[name])]


def scale_moment(folder: Path, parameter: str, share: float) -> None:
    """Change the optimizer's second moment of a parameter in the only checkpoint."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    (part,) = (folder / "checkpoints").glob("step-*/rank-*")
    with safe_open(part, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(part)
    tensors[f"exp_avg_sq/{parameter}"] *= share
    save_file(tensors, part, metadata)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA | {"dropout": 0.0}], ids=["full", "lora"])
@pytest.mark.parametrize("stages", [(2, 2, 2), (3, 3, 3), (0, 1, 2), (3, 2, 0)], ids=str)
def test_workers_and_zero_stage_may_change(
    tmp_path: Path,
    tiny_model_folder: Path,
    mixture: Path,
    stages: tuple[int, int, int],
    adapter: dict[str, Any] | None,
) -> None:
    """Two workers for 3 steps, one for 3, two for the rest, each attempt with a ZeRO stage of its own."""
    settings = {"adapter": adapter, "checkpoint_every_steps": 3, "precision": "fp32"}
    whole = run_with_kills(tmp_path / "whole", tiny_model_folder, mixture, [], num_workers=2, **settings)
    changing = tmp_path / "changing"
    for num_workers, zero_stage, step in zip((2, 1), stages, (3, 6), strict=False):
        own = {"num_workers": num_workers, "zero_stage": zero_stage}
        run_until_killed(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, **own, **settings), step)
    finish(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, zero_stage=stages[2], **settings))
    assert losses(changing) == pytest.approx(losses(whole), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, LORA | {"dropout": 0.0}], ids=["full", "lora"])
def test_sums_in_fp32_go_on_under_another_stage(
    tmp_path: Path, tiny_model_folder: Path, mixture: Path, adapter: dict[str, Any] | None
) -> None:
    """In bf16, where each ZeRO stage has an optimizer class of its own; several accumulations, 2, 1 and 2 workers."""
    settings = {"adapter": adapter, "checkpoint_every_steps": 3, "precision": "bf16"}
    whole = run_with_kills(tmp_path / "whole", tiny_model_folder, mixture, [], num_workers=2, zero_stage=1, **settings)
    changing = tmp_path / "changing"
    for num_workers, zero_stage, step in ((2, 1, 3), (1, 2, 6)):
        own = {"num_workers": num_workers, "zero_stage": zero_stage}
        run_until_killed(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, **own, **settings), step)
    finish(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, zero_stage=3, **settings))
    assert losses(changing)[:3] == losses(whole)[:3]
    assert losses(changing) == pytest.approx(losses(whole), abs=0.02)
    back = tmp_path / "back"
    run_until_killed(job_of(back, tiny_model_folder, mixture, NUM_ROWS, num_workers=1, zero_stage=3, **settings), 3)
    finish(job_of(back, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, zero_stage=1, **settings))
    assert losses(back) == pytest.approx(losses(whole), abs=0.02)
