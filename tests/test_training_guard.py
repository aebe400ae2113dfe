"""A training that has gone wrong stops: before the bad step is recorded or saved, with its documents named."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched_training import be_one_rank, make_job, make_mixture, trained

from rcpt_ray.command import failure
from rcpt_ray.terminal import quiet_terminal
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.guard import STOPPED, Guard, TrainingStopped
from rcpt_ray.training.guard_spec import GuardSpec
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.outcome import make_trainings
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.saved import latest_checkpoint

SPIKE_STEP = 11


def row_of(loss: float, grad_norm: float = 1.0) -> dict[str, Any]:
    return {"step": 9, "loss": loss, "grad_norm": grad_norm}


def guard_of(losses: list[float], skips_overflow: bool = False, **settings: Any) -> Guard:
    return Guard(GuardSpec(**settings), losses, skips_overflow=skips_overflow)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_at_once(loss: float) -> None:
    assert guard_of([], loss_spike=None).reason_to_stop(row_of(loss)) == f"its loss is {loss}"


def test_gradients_that_are_no_numbers_stop_but_fp16_only_skips_them() -> None:
    row = row_of(2.0, grad_norm=math.inf)
    assert "gradients are not finite" in (guard_of([]).reason_to_stop(row) or "")
    assert guard_of([], skips_overflow=True).reason_to_stop(row) is None


def test_a_spike_is_measured_from_the_median_which_one_bad_step_does_not_move() -> None:
    losses = [2.0, 2.2, 1.9, 2.1, 4.9, 2.0, 2.1, 1.8]
    assert guard_of(losses, loss_spike=3.0).reason_to_stop(row_of(5.0)) is None
    reason = guard_of(losses, loss_spike=3.0).reason_to_stop(row_of(5.1))
    assert reason is not None and "3.050 above the median 2.050 of the last 8 steps" in reason


def test_a_window_that_is_too_short_and_a_bound_that_is_off_stop_nothing() -> None:
    assert guard_of([2.0] * 7).reason_to_stop(row_of(99.0)) is None
    assert guard_of([2.0] * 8).reason_to_stop(row_of(99.0)) is not None
    assert guard_of([2.0] * 32, loss_spike=None).reason_to_stop(row_of(99.0)) is None


def test_the_window_moves_on() -> None:
    guard = guard_of([], window_steps=8, loss_spike=1.0)
    for step in range(60):
        assert guard.reason_to_stop(row_of(7.0 - 0.1 * step)) is None
    assert guard.reason_to_stop(row_of(3.5)) is not None


class SpikingFeed(PackedFeed):
    """The mixture's one document kind over and over, and at one step tokens that were never seen."""

    def batches(self, step: int) -> list[Batch] | None:
        batches = super().batches(step)
        if batches is None or step != SPIKE_STEP:
            return batches
        strange = np.random.default_rng(1).integers(500, 1000, batches[0].input_ids_BT.shape)
        return [
            Batch(strange, one.position_ids_BT, np.roll(strange, -1, axis=1), one.target_kind_BT) for one in batches
        ]

    def doc_ids(self, step: int) -> list[str]:
        return [f"strange-{number}" for number in range(5)] if step == SPIKE_STEP else []


@pytest.fixture(scope="module")
def spiking_job(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A model that learns a few tokens fast, and a bound that the strange batch passes."""
    folder = tmp_path_factory.mktemp("spike")
    settings = {"num_epochs": 4, "learning_rate": 1e-2, "schedule": "constant", "warmup_share": 0.0}
    return make_job(
        folder / "job",
        tiny_model_folder,
        make_mixture(folder),
        checkpoint_every_steps=2,
        guard={"loss_spike": 1.0},
        **settings,
    )


def run_with(job: TrainingJob) -> None:
    be_one_rank()
    train(job, 0, SpikingFeed(job.mixture_parts, job.plan, 0))


def test_a_spike_stops_before_its_step_is_saved_and_a_rerun_comes_to_it_again(spiking_job: TrainingJob) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        run_with(spiking_job)
    assert latest_checkpoint(spiking_job.folder / "checkpoints") == SPIKE_STEP - 1
    assert [row["step"] for row in read_rows(spiking_job.folder / "steps.jsonl")] == list(range(SPIKE_STEP))
    assert not (spiking_job.folder / "model").exists()
    with pytest.raises(TrainingStopped) as again:
        run_with(spiking_job)
    assert str(again.value) == str(stopped.value), "the window is that of the steps before the checkpoint too"
    unguarded = spiking_job.spec.model_copy(update={"guard": GuardSpec(loss_spike=None)})
    run_with(TrainingJob(**{**vars(spiking_job), "spec": unguarded}))
    assert (spiking_job.folder / "model").exists()


def test_the_sentence_names_step_documents_and_ways_out(spiking_job: TrainingJob) -> None:
    known = json.loads((spiking_job.folder / STOPPED).read_text())
    assert known["step"] == SPIKE_STEP and len(known["doc_ids"]) == 5
    sentence = known["sentence"]
    assert sentence.startswith(f"training stopped at step {SPIKE_STEP}: its loss of ")
    assert "strange-0, strange-1, strange-2 and 2 more, all in " in sentence
    assert "training.guard.loss_spike" in sentence and "training.learning_rate" in sentence and "\n" not in sentence


def model_of_no_numbers(model: Path, folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"].fill_(math.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_under_ray_a_stop_ends_the_command_with_one_sentence_and_starts_no_worker_again(
    tiny_model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    model = model_of_no_numbers(tiny_model_folder, tmp_path / "nan")
    job = make_job(tmp_path / "job", model, make_mixture(tmp_path), max_failures=3)
    log = tmp_path / "log"
    with quiet_terminal(log) as terminal:
        ray.init(address="local", num_cpus=1, include_dashboard=False)
        try:
            with terminal.bar("training") as bar, pytest.raises(TrainingStopped) as stopped:
                make_trainings([job], bar)
        finally:
            ray.shutdown()
        ended = failure(stopped.value, terminal, log)
    assert isinstance(ended, SystemExit) and ended.code == 1
    *_, said = capfd.readouterr().out.splitlines()  # a slow machine also gets a line of progress now and then
    assert said.startswith("failed: training stopped at step 0: its loss is nan; documents of its batch: ")
    assert "loss_spike" not in said, "no bound lets a loss pass that is no number"
    starts = list((job.folder / "tensorboard").iterdir())
    assert len(starts) == 1, "each start of the workers begins a file of TensorBoard"


def test_a_training_without_trouble_leaves_no_word_of_a_stop(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = trained(make_job(tmp_path / "job", tiny_model_folder, make_mixture(tmp_path, num_documents=4)))
    assert not (folder / STOPPED).exists()
