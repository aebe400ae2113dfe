"""Real sweeps: Ray Tune, Ray Train with DeepSpeed, lm-eval, a random model; thoughts by the fake engine."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from processes import rcpt, run_until_killed, start_rcpt, wait_until
from run_folder import manifests, only_folder
from sweep_trials import swept_recipe

from rcpt_ray.recipe import load_recipe
from rcpt_ray.sweep.result import TrialResult, read_results

RATE = "training.learning_rate"
LENGTH = "thoughts.sampling.max_thought_tokens"
TOKENS = "mixture.num_tokens"


def write_recipe(folder: Path, sweep: Mapping[str, Any], **changed: Any) -> Path:
    """A recipe's file whose run folder stands beside it."""
    recipe = swept_recipe(sweep, run=str(folder / "run"), **changed)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    return file


def results_of(run: Path) -> dict[str, TrialResult]:
    """Results by the trial's name, of the one sweep in a run folder."""
    return {result.trial.name: result for result in read_results(only_folder(run, "trials"))}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two lengths of thoughts and two budgets of tokens, the second of which the corpus has not."""
    folder = tmp_path_factory.mktemp("swept")
    file = write_recipe(folder, {"space": {LENGTH: {"values": [24, 64]}, TOKENS: {"values": [2000, 10_000_000]}}})
    return folder, rcpt("sweep", str(file), "--apply", str(folder / "best.yaml"))


def test_every_trial_is_accounted_for(swept: tuple[Path, Any]) -> None:
    folder, command = swept
    assert command.returncode == 0, command.stdout + command.stderr
    results = results_of(folder / "run")
    assert [result.status for result in results.values()] == ["ok", "refused"] * 2
    assert "max_repeats" in results["0001.s17"].reason
    assert "2 ok, 2 refused" in command.stdout
    table = pq.read_table(only_folder(folder / "run", "sweep") / "results.parquet").to_pylist()
    assert [(row["trial"], row["status"]) for row in table] == [(name, one.status) for name, one in results.items()]
    for result in results.values():
        assert bool(result.objectives) == (result.status == "ok")


def test_one_synthesis_for_each_setting_of_thoughts(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    run = folder / "run"
    assert len(manifests(run, "thoughts")) == 2 and len(manifests(run, "corpus")) == 1
    written = sum(manifest.counts.num_in for manifest in manifests(run, "thoughts"))
    made = [use for result in results_of(run).values() for use in result.stages.values() if use.made_here]
    assert sum(use.engine_requests for use in made) == written
    assert len({use.fingerprint for use in made}) == len(made), "no stage was made by two trials"


def test_chosen_settings_are_a_recipe(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    chosen = load_recipe(folder / "best.yaml").arm_settings("reasoning")
    assert 24 <= chosen.thoughts.sampling.max_thought_tokens <= 64 and chosen.mixture.num_tokens == 2000


def test_no_path_of_this_machine_stands_in_what_is_shown(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    report = only_folder(folder / "run", "sweep")
    for name in ("report.html", "report.md", "answer.json"):
        assert str(folder) not in (report / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_finished_trials_are_found_again(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    before = {name: one for name, one in results_of(folder / "run").items() if one.status == "ok"}
    again = rcpt("sweep", str(folder / "recipe.yaml"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "found    2 of 4 trials" in again.stdout
    assert before.items() <= results_of(folder / "run").items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobs/recipes/demo.yaml"], "has no sweep: section"),
        (["jobs/recipes/sweep.yaml", "--apply", "README.md"], "--apply README.md is there already"),
        (["jobs/recipes/sweep.yaml", "sweep.budget.trials=3"], "less than the"),
        (["jobs/recipes/sweep.yaml", "sweep.space={mixture.layout: {values: [a, b]}}"], "'a' cannot be tried"),
        (["jobs/recipes/sweep.yaml", "corpus.sources.stem.path=missing.jsonl"], "missing.jsonl"),
    ],
)
def test_mistake_is_one_sentence_before_anything_is_made(arguments: list[str], words: str, tmp_path: Path) -> None:
    refused = rcpt("sweep", *arguments, f"run={tmp_path / 'run'}", timeout_s=60)
    assert refused.returncode == 2 and words in refused.stderr, refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not manifests(tmp_path / "run", "corpus")


@pytest.mark.slow
def test_trials_that_differ_in_the_mixture_alone_call_no_engine(tmp_path: Path) -> None:
    space = {"mixture.weights": {"components": ["stem/thought", "law/thought", "stem/raw"], "step": 0.25, "least": 0.0}}
    file = write_recipe(
        tmp_path, {"space": space, "add_baselines": False, "searcher": "random", "budget": {"trials": 12}}
    )
    command = rcpt("sweep", str(file), timeout_s=1500)
    assert command.returncode == 0, command.stdout + command.stderr
    results = list(results_of(tmp_path / "run").values())
    assert [result.status for result in results] == ["ok"] * 12
    (thoughts,) = manifests(tmp_path / "run", "thoughts")
    made = [sum(use.engine_requests for use in one.stages.values() if use.made_here) for one in results]
    assert sorted(made) == [0] * 11 + [thoughts.counts.num_in], "the receipts of one synthesis"
    first = next(result for result, number in zip(results, made, strict=True) if number)
    waited = [one.overhead_seconds for one in results if one is not first]
    print(f"seconds beside the stages, by trial: {[round(seconds, 2) for seconds in sorted(waited)]}")


@pytest.mark.slow
def test_killed_sweep_goes_on_and_repeats_nothing_finished(tmp_path: Path) -> None:
    space = {RATE: {"values": [0.001, 0.002]}, LENGTH: {"values": [24, 64]}}
    file = write_recipe(tmp_path, {"space": space, "add_baselines": False})
    run = tmp_path / "run"

    def num_ended() -> int:
        return len(list((run / "trials").glob("*/*.json")))

    run_until_killed(["sweep", str(file)], lambda: num_ended() >= 1, timeout_s=400)
    before = results_of(run)
    trained = {folder: folder.stat().st_mtime_ns for folder in (run / "training").glob("*/manifest.json")}
    command = rcpt("sweep", str(file), timeout_s=900)
    assert command.returncode == 0, command.stdout + command.stderr
    after = results_of(run)
    assert before.items() <= after.items() and [one.status for one in after.values()] == ["ok"] * 4
    assert {folder: folder.stat().st_mtime_ns for folder in trained} == trained
    assert f"found    {len(before)} of 4 trials" in command.stdout
    assert len(manifests(run, "thoughts")) == 2


@pytest.mark.slow
def test_trial_that_raises_and_one_whose_processes_die(tmp_path: Path) -> None:
    """A rate that ruins the model fails its trial; a killed worker and a killed trial are started again."""
    file = write_recipe(
        tmp_path,
        {"space": {RATE: {"values": [0.001, 0.9]}}, "add_baselines": False, "max_concurrent": 1},
        training={
            "global_batch_rows": 2,
            "num_workers": 1,
            "num_epochs": 20,
            "schedule": "constant",
            "checkpoint_every_steps": 2,
        },
    )
    run = tmp_path / "run"
    process = start_rcpt("sweep", str(file))
    driver = psutil.Process(process.pid)

    def named(part: str) -> list[psutil.Process]:
        found = []
        for child in driver.children(recursive=True):
            try:
                if part in " ".join(child.cmdline()):
                    found.append(child)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def has_checkpoint() -> bool:
        return process.poll() is not None or bool(list((run / "training").glob("*/checkpoints/*")))

    wait_until(has_checkpoint, 300)
    named("RayTrainWorker")[0].send_signal(signal.SIGKILL)
    wait_until(lambda: process.poll() is not None or bool(named("ray::_run")), 60)
    named("ray::_run")[0].send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 1, output
    good, bad = results_of(run).values()
    assert good.status == "ok", good.reason
    assert bad.status == "failed" and "training stopped at step" in bad.reason
    assert "1 ok, 1 failed" in output
    assert bad.reason.split(":")[0] in (only_folder(run, "sweep") / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_that_falls_behind_is_given_up_and_stays_so(tmp_path: Path) -> None:
    """The last of four rates learns nothing; the three before it have shown what can be had."""
    file = write_recipe(
        tmp_path,
        {
            "space": {RATE: {"values": [0.003, 0.004, 0.005, 1e-9]}},
            "add_baselines": False,
            "max_concurrent": 1,
            "early_stop": {"after_share": 0.3, "min_others": 3},
        },
        training={
            "global_batch_rows": 2,
            "num_workers": 1,
            "num_epochs": 10,
            "schedule": "constant",
            "watch": {"heldout_every_steps": 4},
        },
    )
    command = rcpt("sweep", str(file), timeout_s=900)
    assert command.returncode == 0, command.stdout + command.stderr
    results = results_of(tmp_path / "run")
    assert [one.status for one in results.values()] == ["ok", "ok", "ok", "stopped"], command.stdout
    assert "median" in results["0003.s17"].reason
    again = rcpt("sweep", str(file), timeout_s=300)
    assert again.returncode == 0 and results_of(tmp_path / "run") == results
