"""Trials on Ray Tune: each a function that runs what is left of its pipeline.

Tune keeps a trial in a placement group and would hold everything that the trial starts within it, so the pipeline runs
in a task outside: its workers, engines and evaluations ask the cluster for what they need. The group itself reserves
next to nothing. Tune decides nothing about trials: which come next is asked of `Proposals`, and a training that falls
behind gives itself up. What counts is the trial's file of its result; Tune's own state is not kept.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.errors import reason_of
from rcpt_ray.recipe import Recipe
from rcpt_ray.submission.secrets import load_secrets
from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import Trial, TrialResult, read_result, write_result
from rcpt_ray.sweep.room import Need, need_of_trial
from rcpt_ray.sweep.trial import run_trial
from rcpt_ray.sweep.trial_recipe import mistake_at, recipe_at

_PLACEHOLDER = {"memory": 2**20}
"""A trial's placement group must ask for something."""
_RETRIES = 2
"""Of a trial whose process or machine is lost."""
_LOADED_AHEAD = 4
_SETTINGS = {
    # The command ends on Ctrl-C instead of going on as if the sweep had ended.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "3600",
}

Watcher = Callable[[Trial, TrialResult | None], object]
"""Hears of a trial when it begins, and when it has ended with a result."""


def run_trials(recipe: Recipe, proposals: Proposals, run: Path, folder: Path, watcher: Watcher) -> None:
    """Run trials until there are no more; each leaves its result in `folder`.

    As many run at once as sweep.max_concurrent says, else as the cluster has room for at the time; where machines come
    on demand one more waits, so that some do come. A trial whose process is lost again and again ends as failed; no
    trial ends the others.
    """
    cluster.connect(recipe.cluster)
    os.environ.update(_SETTINGS)
    storage = folder / "tune"
    shutil.rmtree(storage, ignore_errors=True)

    def trial_function(config: dict[str, Any]) -> dict[str, Any]:
        # "DEFAULT" leaves the trial's placement group. A process that is lost is Tune's to retry, with its machine.
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="DEFAULT")(_run)
        try:
            ray.get(task.remote(recipe, config["trial"], run, folder))
        except ray.exceptions.RayTaskError as error:
            return {"reason": reason_of(error)}
        return {"reason": ""}

    tuner = tune.Tuner(
        tune.with_resources(trial_function, _PLACEHOLDER),
        tune_config=tune.TuneConfig(
            search_alg=_Asked(recipe, proposals, folder, watcher),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
        ),
    )
    # Processes for the first trials load what they need while Tune starts; they are used again for those after them.
    have = ray.cluster_resources()
    loading = [_loaded.remote(recipe.cluster) for _ in range(min(int(have.get("CPU", 0)), _LOADED_AHEAD))]
    try:
        tuner.fit()
    finally:
        del loading
        shutil.rmtree(storage, ignore_errors=True)


@ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="DEFAULT")
def _loaded(spec: ClusterSpec) -> None:
    """What a trial's process does first; this module's imports are most of it."""
    cluster.connect(spec)


def _run(recipe: Recipe, trial: Trial, run: Path, folder: Path) -> None:
    began_s = time.monotonic()
    load_secrets()
    cluster.connect(recipe.cluster)
    now = folder / "now" / f"{trial.name}.txt"

    def on_stage(title: str) -> None:
        now.write_text(title, encoding="utf-8")

    result = run_trial(recipe, trial, run, folder, on_stage)
    # The driver, which knows when the trial was asked for, says it better, if it lives to see the trial's end.
    write_result(folder, result.model_copy(update={"seconds": time.monotonic() - began_s}))
    now.unlink(missing_ok=True)


def _has_room(recipe: Recipe, needs: Sequence[Need | None]) -> bool:
    """Whether one more trial may run beside those with these needs."""
    assert recipe.sweep is not None
    if recipe.sweep.max_concurrent is not None:
        return len(needs) < recipe.sweep.max_concurrent
    have = ray.cluster_resources()
    fits = [need.times_in(have.get("CPU", 0), have.get("GPU", 0)) for need in needs if need is not None]
    return len(needs) < min(fits, default=len(needs) + 1) + recipe.cluster.autoscales


def _need(recipe: Recipe, trial: Trial) -> Need | None:
    """What a trial needs; None where its settings cannot be had, so that it ends at once."""
    return None if mistake_at(recipe, trial.point) else need_of_trial(recipe_at(recipe, trial))


class _Asked(Searcher):
    """Tune's way of asking which trial is next, and of saying that one has ended."""

    def __init__(self, recipe: Recipe, proposals: Proposals, folder: Path, watcher: Watcher) -> None:
        super().__init__()
        self._recipe, self._proposals, self._folder, self._watcher = recipe, proposals, folder, watcher
        self._running: dict[str, Trial] = {}
        self._needs: dict[str, Need | None] = {}
        self._begun_s: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune's trial for the next of ours; None while there is no room for another."""
        if self._running and not _has_room(self._recipe, list(self._needs.values())):
            return None
        trial = self._proposals.next()
        if trial is None:
            return Searcher.FINISHED
        self._running[trial_id], self._begun_s[trial_id] = trial, time.monotonic()
        self._needs[trial_id] = _need(self._recipe, trial)
        (self._folder / f"{trial.name}.json").unlink(missing_ok=True)
        self._watcher(trial, None)
        return {"trial": trial}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Read what the trial left; one that left nothing has failed."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        del self._needs[trial_id]
        seconds = time.monotonic() - self._begun_s.pop(trial_id)
        ended = read_result(self._folder, trial)
        if ended is None:
            reason = (result or {}).get("reason") or f"its process was lost {_RETRIES + 1} times"
            ended = TrialResult(trial=trial, status="failed", reason=reason)
        ended = ended.model_copy(update={"seconds": seconds})
        write_result(self._folder, ended)
        self._proposals.tell(ended)
        self._watcher(trial, ended)

    def __getstate__(self) -> dict[str, Any]:
        # Tune writes searchers down for a restore of its own; here the results' files are all there is to keep.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, for the same reason."""
