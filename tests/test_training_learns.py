"""Training fits what has a weight in the loss, and only that."""

from pathlib import Path
from typing import Any

import pytest
from training_fixtures import ROW_TOKENS, be_worker, job_of, write_rows

from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.packed_rows import PackedRows

ONLY_THOUGHT_FROZEN = {"text": 1.0, "thought": 0.0, "delimiter": 1.0, "bos_eos": 1.0}


@pytest.fixture(scope="module", autouse=True)
def one_worker() -> None:
    be_worker()


def overfit(model_folder: Path, folder: Path, num_steps: int, **settings: Any) -> list[dict[str, Any]]:
    """The steps' rows of training on one document again and again."""
    import torch

    from rcpt_ray.training.engine import start_engine
    from rcpt_ray.training.step import run_step

    parts = write_rows(folder / "rows", [ROW_TOKENS])
    same = {"global_batch_rows": 1, "num_epochs": num_steps, "learning_rate": 0.01, "schedule": "constant"}
    job = job_of(model_folder, folder, parts, **(same | settings))
    torch.manual_seed(job.plan.seed)
    engine, optimizer = start_engine(job)
    feed = PackedFeed(parts, job.plan, 0)
    return [run_step(engine, optimizer, feed.batches(step) or [], job, step) for step in range(num_steps)]


@pytest.mark.parametrize("settings", [{"precision": "fp32"}, {"precision": "bf16"}])
def test_one_document_is_learnt_by_heart(tiny_model_folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    rows = overfit(tiny_model_folder, tmp_path, num_steps=60, **settings)
    assert rows[0]["loss"] > 5
    assert rows[-1]["loss"] < 0.1
    assert rows[-1]["loss_thought"] < 0.2


def test_frozen_thoughts_are_not_learnt_from(tiny_model_folder: Path, tmp_path: Path) -> None:
    """The text is learnt by heart; the random tokens of the thought stay as surprising as they were."""
    rows = overfit(tiny_model_folder, tmp_path, num_steps=60, loss_weights=ONLY_THOUGHT_FROZEN)
    assert rows[-1]["loss_text"] < 0.1
    assert rows[-1]["loss_thought"] > rows[0]["loss_thought"] - 0.2


def test_other_thought_targets_give_the_same_weights_when_thoughts_are_frozen(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: what a thought should have said changes no weight, after several steps."""
    import numpy as np

    from rcpt_ray.records import THOUGHT_KIND
    from rcpt_ray.training.batch import Batch

    rows = overfit(tiny_model_folder, tmp_path, num_steps=5, loss_weights=ONLY_THOUGHT_FROZEN)
    true_batch = PackedRows.batch

    def other_thoughts(feed: PackedRows, indices: list[int | None]) -> Batch:
        batch = true_batch(feed, indices)
        targets_BT = np.where(batch.target_kind_BT == THOUGHT_KIND, 5, batch.target_ids_BT)
        return Batch(batch.input_ids_BT, batch.position_ids_BT, targets_BT, batch.target_kind_BT)

    monkeypatch.setattr(PackedRows, "batch", other_thoughts)
    others = overfit(tiny_model_folder, tmp_path, num_steps=5, loss_weights=ONLY_THOUGHT_FROZEN)
    assert [row["loss_text"] for row in rows] == [row["loss_text"] for row in others]
    assert [row["grad_norm"] for row in rows] == [row["grad_norm"] for row in others]
    assert all(row["loss_thought"] != other["loss_thought"] for row, other in zip(rows, others, strict=True))
