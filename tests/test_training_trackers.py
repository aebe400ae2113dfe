"""Other places for the curves of a training: one run each, killed or not, and no training fails because of them."""

import json
from pathlib import Path

import pytest
from watched_training import FeedUntilKilled, Killed, be_one_rank, make_job, make_mixture, make_watched_job, trained

from rcpt_ray.errors import UserError
from rcpt_ray.training.loop import train
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.trackers import begin_runs, require_packages
from rcpt_ray.training.watch_spec import WatchSpec

MEASURED = {"heldout_every_steps": 4}


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_tracker_without_its_package_is_refused_with_a_way_out(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"training\.watch\.{name}=here needs the package {package}; install it"):
        require_packages(WatchSpec(**{name: "here"}))
    require_packages(WatchSpec())


def test_a_tracker_that_raises_is_given_up_and_the_training_ends_well(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboardX import SummaryWriter

    def no_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(SummaryWriter, "add_scalar", no_disk)
    folder = trained(make_watched_job(tmp_path / "job", tiny_model_folder, inputs))
    assert (folder / "model").exists() and read_rows(folder / "steps.jsonl")


def test_mlflow_goes_on_in_the_same_run(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    pytest.importorskip("mlflow", reason="the extra rcpt-ray[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="the extra rcpt-ray[mlflow] is not installed")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    job = make_watched_job(tmp_path / "job", tiny_model_folder, inputs, watch={**MEASURED, "mlflow": uri})
    be_one_rank()
    begin_runs(job)
    with pytest.raises(Killed):
        train(job, 0, FeedUntilKilled(job))
    begin_runs(job)
    trained(job)
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [one for one in client.search_experiments() if one.name == "demo"]
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss")
    rows = read_rows(job.folder / "steps.jsonl")
    assert sorted((metric.step, metric.value) for metric in history) == [(row["step"], row["loss"]) for row in rows]
    assert json.loads(run.data.params["learning_rate"]) == job.spec.learning_rate
    assert run.info.status == "FINISHED"


def test_mlflow_that_cannot_be_reached_is_the_users_to_mend(tiny_model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra rcpt-ray[mlflow] is not installed")
    job = make_job(tmp_path / "job", tiny_model_folder, make_mixture(tmp_path, 4), watch={"mlflow": "nosuch://x"})
    with pytest.raises(UserError, match=r"training\.watch\.mlflow=nosuch://x cannot be used"):
        begin_runs(job)


def test_wandb_keeps_one_run_offline(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra rcpt-ray[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = make_watched_job(tmp_path / "job", tiny_model_folder, inputs, watch={**MEASURED, "wandb": "project"})
    be_one_rank()
    begin_runs(job)
    with pytest.raises(Killed):
        train(job, 0, FeedUntilKilled(job))
    begin_runs(job)
    trained(job)
    run_id = json.loads((job.folder / "trackers.json").read_text())["wandb"]
    kept = list(job.folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert kept and {file.name for file in kept} == {f"run-{run_id}.wandb"}
    assert all(file.stat().st_size > 1000 for file in kept)
