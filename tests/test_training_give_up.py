"""A training that falls behind the others of its sweep gives up on every rank, and can go on later as if it had not."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mixture_fixtures import quiet_bar
from training_runs import Ranks, assert_same_training, finish, job_of, write_mixture
from watched_training import make_heldout

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.training.guard import STOPPED, TrainingGivenUp
from rcpt_ray.training.guard_spec import GuardSpec, OthersSpec
from rcpt_ray.training.in_turn import make_in_turn
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.others import Curve, curve_of, write_curve
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.saved import latest_checkpoint

NUM_STEPS = 10
GIVEN_UP_AT = 6
BETTER = [1.0, 0.5, -3.0]
"""Falls of bits per byte in other trainings whose median is better than none."""
RUINED: dict[str, Any] = {"learning_rate": 0.9, "schedule": "constant", "warmup_share": 0.0, "max_grad_norm": 1e9}


@pytest.fixture(scope="module")
def ruined(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> TrainingJob:
    """A training on two ranks that hold the parameters together, with a learning rate far too large, run to its end."""
    folder = tmp_path_factory.mktemp("ruined")
    job = job_of(
        folder / "alone",
        tiny_model_folder,
        write_mixture(folder, 4 * NUM_STEPS),
        4 * NUM_STEPS,
        num_workers=2,
        zero_stage=3,
        precision="fp32",
        checkpoint_every_steps=4,
        watch={"heldout_every_steps": 2},
        guard={"loss_spike": None},
        **RUINED,
    )
    job = replace(job, heldout_parts=make_heldout(folder))
    finish(job)
    return job


def beside(job: TrainingJob, folder: Path, falls: Sequence[float]) -> TrainingJob:
    """The same training in another folder, beside others whose bits fall by so much from where its own begin."""
    (_, start), *_ = curve_of(read_rows(job.folder / "heldout.jsonl"), NUM_STEPS).measured
    others = OthersSpec(folder=str(folder / "curves"), name="0000.s17", after_share=0.5)
    for number, fall in enumerate(falls, start=1):
        curve = Curve(tuple((tenths / 10, start - fall * tenths / 10) for tenths in range(11)), has_ended=True)
        write_curve(others.model_copy(update={"name": f"{number:04d}.s17"}), curve)
    spec = job.spec.model_copy(update={"guard": GuardSpec(loss_spike=None, others=others)})
    (folder / "job").mkdir()
    return replace(job, spec=spec, folder=folder / "job")


def alone(job: TrainingJob) -> TrainingJob:
    return replace(job, spec=job.spec.model_copy(update={"guard": GuardSpec(loss_spike=None)}))


def curve_file(job: TrainingJob) -> Path:
    others = job.spec.guard.others
    assert others is not None
    return Path(others.folder) / f"{others.name}.json"


def assert_given_up(job: TrainingJob) -> None:
    """At the first measurement after half of the steps, with a checkpoint of that step and a word in the folder."""
    assert latest_checkpoint(job.folder / "checkpoints") == GIVEN_UP_AT
    assert len(read_rows(job.folder / "steps.jsonl")) == GIVEN_UP_AT and not (job.folder / "model").exists()
    known = json.loads((job.folder / STOPPED).read_text())
    assert (known["step"], known["given_up"]["num_others"]) == (GIVEN_UP_AT, 3)
    assert known["sentence"].startswith("training given up after 6 of 10 steps: its fewest held-out bits per byte are ")
    curve = json.loads(curve_file(job).read_text())
    assert [share for share, _ in curve["measured"]] == [0.0, 0.2, 0.4, 0.6] and curve["has_ended"]


@pytest.fixture(scope="module")
def given_up(ruined: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """The ruined training, ended beside two others that do better and one that does worse."""
    job = beside(ruined, tmp_path_factory.mktemp("given_up"), BETTER)
    ranks = Ranks(job)
    assert 1 in ranks.end() and "guard.TrainingGivenUp: training given up after 6 of 10 steps" in ranks.sentence()
    return job


def test_a_ruined_training_is_given_up_with_a_checkpoint_and_its_curve(
    ruined: TrainingJob, given_up: TrainingJob
) -> None:
    (_, start), *_, (_, end) = curve_of(read_rows(ruined.folder / "heldout.jsonl"), NUM_STEPS).measured
    assert end > start + 1, "it is ruined"
    assert_given_up(given_up)


@pytest.mark.slow
def test_started_again_it_comes_to_the_same_verdict_by_what_its_folder_holds(given_up: TrainingJob) -> None:
    """Its curve was lost with the one that measured it; no step is trained again."""
    before = (given_up.folder / "steps.jsonl").read_bytes()
    curve_file(given_up).unlink()
    (given_up.folder / STOPPED).unlink()
    Ranks(given_up).end()
    assert_given_up(given_up)
    assert (given_up.folder / "steps.jsonl").read_bytes() == before


@pytest.mark.slow
def test_alone_it_goes_on_to_the_end_that_it_would_have_had(
    ruined: TrainingJob, given_up: TrainingJob, tmp_path: Path
) -> None:
    copy = replace(alone(given_up), folder=tmp_path / "copy")
    shutil.copytree(given_up.folder, copy.folder)
    finish(copy)
    assert_same_training(ruined.folder, copy.folder)


@pytest.mark.slow
def test_a_training_as_good_as_the_median_ends_as_if_there_were_no_others(ruined: TrainingJob, tmp_path: Path) -> None:
    job = beside(ruined, tmp_path, [1.0, 0.0, -3.0])
    finish(job)
    assert_same_training(ruined.folder, job.folder)
    curve = json.loads(curve_file(job).read_text())
    assert curve["has_ended"] and len(curve["measured"]) == 6


@pytest.mark.slow
def test_under_ray_the_stage_s_error_is_that_it_was_given_up_and_no_worker_starts_again(
    ruined: TrainingJob, tmp_path: Path
) -> None:
    job = beside(ruined, tmp_path, BETTER)
    with cluster.session():
        cluster.connect(ClusterSpec(num_cpus=2))
        (ended,) = make_in_turn([lambda: job], quiet_bar())
        assert type(ended) is TrainingGivenUp and "\n" not in str(ended)
        assert_given_up(job)
        assert len(list((job.folder / "tensorboard").iterdir())) == 1, "each start begins a file of TensorBoard"
        (outcome,) = make_in_turn([lambda: alone(job)], quiet_bar())
    assert not isinstance(outcome, Exception) and outcome.details["num_steps"] == NUM_STEPS
    assert not (job.folder / STOPPED).exists()
