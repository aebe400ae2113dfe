"""A command killed with SIGKILL in training is finished by the same command, of which a training worker is killed too.

Commands killed in synthesis are those of test_synthesis_kills.py.
"""

from pathlib import Path

import psutil
import pytest
from processes import rcpt, run_until_killed, start_rcpt, wait_until
from run_folder import assert_adds_up, manifests, only_folder
from synthesis_runs import engine_processes

from rcpt_ray.training.saved import latest_checkpoint


def _overrides(run: Path) -> list[str]:
    return [
        f"run={run}",
        "thoughts.engine=fake",
        "evaluation.tasks={}",
        "training.num_epochs=12",
        "training.checkpoint_every_steps=2",
        "report.baseline=reasoning",
        "arms={reasoning: {}}",
    ]


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in training, and then finished although a worker was killed."""
    run = tmp_path_factory.mktemp("killed") / "run"
    command = ["run", "jobs/recipes/tiny.yaml", *_overrides(run)]
    run_until_killed(command, lambda: _steps_saved(run) > 0)
    (thoughts,) = manifests(run, "thoughts")
    assert not manifests(run, "training")

    process = start_rcpt(*command)
    driver = psutil.Process(process.pid)
    wait_until(lambda: bool(engine_processes(driver, "RayTrainWorker")) or process.poll() is not None, 300)
    saved_before = _steps_saved(run)
    wait_until(lambda: _steps_saved(run) > saved_before or process.poll() is not None, 300)
    assert process.poll() is None, "the command ended before a worker could be killed"
    engine_processes(driver, "RayTrainWorker")[-1].kill()
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert manifests(run, "thoughts") == [thoughts], "finished thoughts were made again"
    return run


def test_counts_add_up_after_the_kills(killed_run: Path) -> None:
    assert_adds_up(killed_run)


def test_training_went_on_to_its_last_step_and_left_nothing_temporary(killed_run: Path) -> None:
    (manifest,) = manifests(killed_run, "training")
    folder = only_folder(killed_run, "training")
    assert manifest.details["num_steps"] == len((folder / "steps.jsonl").read_text().splitlines())
    assert {path.name for path in folder.iterdir()} >= {"model", "steps.parquet", "manifest.json"}
    assert not (folder / "checkpoints").exists()


def test_second_command_finds_everything_finished(killed_run: Path) -> None:
    again = rcpt("run", "jobs/recipes/tiny.yaml", *_overrides(killed_run), timeout_s=60)
    assert again.returncode == 0, again.stderr
    assert "made" not in again.stdout


def test_new_learning_rate_redoes_training_evaluation_and_report_only(killed_run: Path) -> None:
    planned = rcpt("plan", "jobs/recipes/tiny.yaml", *_overrides(killed_run), "training.learning_rate=0.002")
    to_do = {line.split("│")[1].split()[0] for line in planned.stdout.splitlines() if "to do" in line}
    assert to_do == {"training", "evaluation", "report"}


def _steps_saved(run: Path) -> int:
    return max((latest_checkpoint(folder) or 0 for folder in run.glob("training/*/checkpoints")), default=0)
