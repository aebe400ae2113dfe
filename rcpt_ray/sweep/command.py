"""`rcpt sweep`: the trials that are left, then the sweep's report and, where asked for, the recipe that it speaks for.

    RUN/trials/<key>/<trial>.json, logs/<trial>.log     what became of each trial; the key covers what defines them
    RUN/sweep/<fingerprint>/                            report.html, report.md, results.parquet, answer.json

Trials make their stages in the run folder, where those of other trials, sweeps and `rcpt run` are found by fingerprint.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome, fingerprint, hold
from rcpt_ray.command import StageFailed, in_run
from rcpt_ray.errors import UserError
from rcpt_ray.finishing import finish
from rcpt_ray.pipeline import build_pipeline, resolve_spec
from rcpt_ray.recipe import Recipe
from rcpt_ray.report.public import public_recipe
from rcpt_ray.stage import Builder, Built, Stage, StageError
from rcpt_ray.sweep.live import LiveTable
from rcpt_ray.sweep.proposals import KEPT, Proposals
from rcpt_ray.sweep.result import TrialResult, read_results
from rcpt_ray.sweep.sensible import definition_of, require_sensible
from rcpt_ray.sweep.spec import STAGE_VERSION
from rcpt_ray.sweep.trial_recipe import mistake_at, recipe_at
from rcpt_ray.terminal import Bar, Terminal
from rcpt_ray.written import Resolve

if TYPE_CHECKING:
    from rcpt_ray.sweep.answer import Answer

_NOT_IN_KEY = ("budget", "max_concurrent", "confidence", "early_stop", "proxy", "arm")
"""What of a sweep's settings changes which trials are made, or what is told of them, or stands in their recipes."""


def sweep_command(recipe: Recipe, source: str, apply_to: str | None = None) -> None:
    """Run the trials of a recipe's sweep that are not finished, and report on all of them.

    Args:
        source: the recipe's file, which the recipe to apply is made from.
        apply_to: a new file for it.

    Raises:
        UserError: the recipe has no sweep, or one that cannot be begun; or no trial could be made as it was asked for.
        StageFailed: a trial failed; the others and the report are finished.
    """
    _require_new_file(apply_to)
    require_sensible(recipe)
    started = time.monotonic()
    with in_run(recipe, "sweep") as (run, terminal, log):
        terminal.say(f"sweep of {recipe.name} in {run}, log {log.relative_to(run)}")
        with cluster.session(terminal.say):
            results, planned = _trials(recipe, run, terminal)
        answers = functools.cache(functools.partial(_answers, recipe, results))
        built = _report(recipe, results, planned, answers, run, terminal)
        statuses = Counter[str](result.status for result in results)
        terminal.say(f"done in {time.monotonic() - started:.0f} s: {_in_words(statuses)}")
        for name in ("report.html", "report.md"):
            terminal.say(f"report   {built.path / name}")
        if statuses["failed"]:
            kept_back = "; --apply waits until none fails" if apply_to is not None else ""
            terminal.say(f"{statuses['failed']} trials failed; the same command tries them again{kept_back}")
            raise StageFailed(1)
        if not statuses["ok"]:
            raise UserError(f"no trial gave a figure; the first one did not because {results[0].reason}")
        if apply_to is not None:
            from rcpt_ray.sweep.apply import applied_recipe, write_applied

            write_applied(Path(apply_to), applied_recipe(Path(source), recipe, answers()))
            terminal.say(f"applied  {apply_to}")


def _answers(recipe: Recipe, results: Sequence[TrialResult]) -> "list[Answer]":
    from rcpt_ray.sweep.answer import answer

    return answer(recipe, results)


def _forget_curves(folder: Path, keep: Sequence[str]) -> None:
    """Trials that are tried again are no rivals of themselves, and those of an earlier sweep are none of this one."""
    for file in folder.iterdir():
        if file.stem not in keep:
            file.unlink()


def _require_new_file(apply_to: str | None) -> None:
    if apply_to is None:
        return
    if Path(apply_to).exists():
        raise UserError(f"--apply {apply_to} is there already; give a new file")
    if not Path(apply_to).absolute().parent.is_dir():
        raise UserError(f"--apply {apply_to} would stand in a folder that does not exist; make it first")


def _trials(recipe: Recipe, run: Path, terminal: Terminal) -> tuple[list[TrialResult], int]:
    """The results of all trials, those made now and those found, and how many were planned."""
    resolve = functools.cache(resolve_spec)
    folder = run / "trials" / _key(recipe, run, resolve)
    for name in ("logs", "now", "curves", "made"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with hold(folder):
        before = [result for result in read_results(folder) if _stands(result, recipe, run, resolve)]
        proposals = Proposals(recipe, before)
        _forget_curves(folder / "curves", [result.trial.name for result in proposals.ended])
        if found := len(proposals.ended):
            terminal.say(f"found    {found} of {proposals.num_planned} trials in {folder.relative_to(run)}")
        if proposals.peek() is not None:
            from rcpt_ray.sweep.on_ray import run_trials

            terminal.say(f"trials   {proposals.num_planned} planned; logs in {(folder / 'logs').relative_to(run)}")
            with LiveTable(terminal, proposals, folder) as table:
                run_trials(recipe, proposals, run, folder, table.show)
        if reason := proposals.reason_to_end():
            terminal.say(f"no more trials are begun: {reason}")
        return proposals.results, proposals.num_planned


def _key(recipe: Recipe, run: Path, resolve: Resolve) -> str:
    """What defines the trials, as far as settings do; UserError where no point can be tried, or an input is missing."""
    assert recipe.sweep is not None
    proposals = Proposals(recipe)
    trials = iter(proposals.next, None)
    first = next((trial for trial in trials if mistake_at(recipe, trial.point) is None), None)
    if first is None:
        raise UserError(f"no point of the sweep can be tried: {mistake_at(recipe, proposals.trials[0].point)}")
    own = recipe_at(recipe, first)
    build_pipeline(own, Builder.looking_up(run), "evaluation", resolve)
    sweep = recipe.sweep.model_dump(mode="json", exclude=set(_NOT_IN_KEY))
    return fingerprint("trials", STAGE_VERSION, definition_of(own) | {"sweep": sweep}, {})


def _stands(result: TrialResult, recipe: Recipe, run: Path, resolve: Resolve) -> bool:
    """Whether a trial would come to this result again: its last stage is the one that it would have now.

    Raises:
        UserError: an input of the trial is missing.
    """
    last = "evaluation" if result.status == "ok" else "training"
    if result.status not in KEPT or last not in result.stages:
        return True  # to be tried again in any case
    own = recipe_at(recipe, result.trial)
    (arm,) = build_pipeline(own, Builder.looking_up(run), last, resolve).arms.values()
    built = getattr(arm, last)
    if built is None or built.stage.fingerprint != result.stages[last].fingerprint:
        return False
    return result.status == "stopped" or built.manifest is not None


def _report(
    recipe: Recipe,
    results: Sequence[TrialResult],
    planned: int,
    answers: "Callable[[], list[Answer]]",
    run: Path,
    terminal: Terminal,
) -> Built:
    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.sweep.page.write import write_answers

        return write_answers(recipe, results, planned, folder, answers())

    settings = {"recipe": public_recipe(recipe.model_dump(mode="json", exclude={"cluster"})), "planned": planned}
    digests = {result.trial.name: sha256(result.model_dump_json().encode()).hexdigest() for result in results}
    built = finish(Stage("sweep", "sweep's report", STAGE_VERSION, settings, digests, "report.*", make), run, terminal)
    if isinstance(built, StageError):
        raise built
    return built


def _in_words(statuses: Counter[str]) -> str:
    words = {"ok": "ok", "stopped": "given up", "refused": "refused", "failed": "failed"}
    return ", ".join(f"{statuses[status]} {word}" for status, word in words.items() if statuses[status]) or "no trials"
