"""A training that is killed goes on as if nothing had happened, on as many workers as there are then."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from training_runs import Ranks, assert_same_training, finish, job_of, losses, write_mixture

NUM_STEPS = 10
NUM_ROWS = 4 * NUM_STEPS - 2
"""So that the last batch has empty rows."""
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), NUM_ROWS)


def run_with_kills(folder: Path, model: Path, mixture: Path, kills: Sequence[int], **settings: Any) -> Path:
    """Train with a kill -9 of all ranks after each of these steps, then to the end."""
    job = job_of(folder, model, mixture, NUM_ROWS, **settings)
    for step in kills:
        assert -9 in Ranks(job, dies_at=step).end()
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


def test_workers_may_come_and_go(tmp_path: Path, tiny_model_folder: Path, mixture: Path) -> None:
    """Two workers for 3 steps, one for 3, two for the rest: the same batches, losses but for rounding."""
    settings = {"zero_stage": 1, "checkpoint_every_steps": 3, "precision": "fp32"}
    whole = run_with_kills(tmp_path / "whole", tiny_model_folder, mixture, [], num_workers=2, **settings)
    changing = tmp_path / "changing"
    assert -9 in Ranks(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, **settings), 3).end()
    assert -9 in Ranks(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=1, **settings), 6).end()
    finish(job_of(changing, tiny_model_folder, mixture, NUM_ROWS, num_workers=2, **settings))
    assert losses(changing) == pytest.approx(losses(whole), abs=1e-4)
    assert losses(changing)[:3] == losses(whole)[:3]
    assert losses(changing) != losses(whole), "one worker adds in another order than two"
