"""`rcpt sweep`: the trials that are left, then the sweep's report and, where asked for, the recipe that it speaks for.

    RUN/trials/<key>/<trial>.json, logs/<trial>.log     what became of each trial; the key covers what defines them
    RUN/sweep/<fingerprint>/                            report.html, report.md, results.parquet, answer.json

Trials make their stages in the run folder, where those of other trials, sweeps and `rcpt run` are found by fingerprint.
"""

import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome, fingerprint, hold, open_run, read_manifest
from rcpt_ray.command import StageFailed, failure
from rcpt_ray.errors import UserError
from rcpt_ray.finishing import finish
from rcpt_ray.pipeline import build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.report.public import public_recipe
from rcpt_ray.stage import Builder, Built, Stage, StageError
from rcpt_ray.sweep.live import LiveTable
from rcpt_ray.sweep.proposals import Proposals
from rcpt_ray.sweep.result import TrialResult, read_results
from rcpt_ray.sweep.spec import STAGE_VERSION
from rcpt_ray.sweep.trial_recipe import recipe_at, require_valid
from rcpt_ray.terminal import Bar, Terminal, quiet_terminal

_NOT_IN_KEY = ("budget", "max_concurrent", "confidence", "early_stop")
"""What of a sweep's settings changes which trials are made, or what is told of them, but not a trial."""


def sweep_command(recipe: Recipe, source: str, apply_to: str | None = None) -> None:
    """Run the trials of a recipe's sweep that are not finished, and report on all of them.

    Args:
        source: the recipe's file, which the recipe to apply is made from.
        apply_to: a new file for it.

    Raises:
        UserError: the recipe has no sweep, or one that cannot be begun; or no trial could be made as it was asked for.
        StageFailed: a trial failed; the others and the report are finished.
    """
    sweep = recipe.sweep
    if sweep is None:
        raise UserError(f"{source} has no sweep: section; write one as in jobs/recipes/sweep.yaml")
    if apply_to is not None and Path(apply_to).exists():
        raise UserError(f"--apply {apply_to} is there already; give a new file")
    require_valid(recipe, sweep)
    started = time.monotonic()
    run = open_run(recipe.run, recipe.model_dump(mode="json"))
    log = run / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-sweep.log"
    with quiet_terminal(log) as terminal:
        terminal.say(f"sweep of {recipe.name} in {run}, log {log.relative_to(run)}")
        try:
            with cluster.session():
                results, planned = _trials(recipe, run, terminal)
            built = _report(recipe, results, planned, run, terminal)
        except UserError:
            raise
        except Exception as error:
            raise failure(error, terminal, log) from None
        statuses = Counter[str](result.status for result in results)
        terminal.say(f"done in {time.monotonic() - started:.0f} s: {_in_words(statuses)}")
        for name in ("report.html", "report.md"):
            terminal.say(f"report   {built.path / name}")
        if not statuses["ok"]:
            raise UserError(f"no trial could be made; the first one was not because {results[0].reason}")
        if apply_to is not None:
            from rcpt_ray.sweep.answer import answer
            from rcpt_ray.sweep.apply import applied_recipe, write_applied

            write_applied(Path(apply_to), applied_recipe(Path(source), recipe, answer(recipe, results)))
            terminal.say(f"applied  {apply_to}")
        if statuses["failed"]:
            terminal.say(f"{statuses['failed']} trials failed; the same command tries them again")
            raise StageFailed(1)


def _trials(recipe: Recipe, run: Path, terminal: Terminal) -> tuple[list[TrialResult], int]:
    """The results of all trials, those made now and those found, and how many were planned."""
    folder = run / "trials" / _key(recipe, run)
    for name in ("logs", "now", "curves"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with hold(folder):
        before = [result for result in read_results(folder) if _stands(result, run)]
        proposals = Proposals(recipe, before)
        if found := len(proposals.results):
            terminal.say(f"found    {found} of {proposals.num_planned} trials in {folder.relative_to(run)}")
        if proposals.peek() is not None:
            from rcpt_ray.sweep.on_ray import run_trials

            terminal.say(f"trials   {proposals.num_planned} planned; logs in {(folder / 'logs').relative_to(run)}")
            with LiveTable(terminal, proposals, folder) as table:
                run_trials(recipe, proposals, run, folder, table.show)
        if reason := proposals.reason_to_end():
            terminal.say(f"no more trials are begun: {reason}")
        return proposals.results, proposals.num_planned


def _key(recipe: Recipe, run: Path) -> str:
    """What defines the trials: settings, and the contents of files and models; UserError where one is missing."""
    assert recipe.sweep is not None
    first = Proposals(recipe).peek()
    assert first is not None
    planned = build_pipeline(recipe_at(recipe, first), Builder.looking_up(run), "evaluation")
    assert planned.corpus is not None and planned.student is not None
    (arm,) = planned.arms.values()
    assert arm.evaluation is not None
    made_by_trials = ("corpus", "model", "thoughts")
    inputs = {name: str(digest) for name, digest in arm.evaluation.stage.inputs.items() if name not in made_by_trials}
    inputs |= {"corpus": str(planned.corpus.stage.fingerprint), "student": planned.student.checksum}
    inputs |= {f"teacher of {name}": writers.teacher.checksum for name, writers in planned.writers.items()}
    settings = public_recipe(recipe.model_dump(mode="json", exclude={"cluster", "report", "comparison", "name"}))
    settings["sweep"] = {name: value for name, value in settings["sweep"].items() if name not in _NOT_IN_KEY}
    return fingerprint("trials", STAGE_VERSION, settings, inputs)


def _stands(result: TrialResult, run: Path) -> bool:
    """Whether the stages that a result was read from are still there."""
    folders = [run / name.split()[0] / use.fingerprint for name, use in result.stages.items() if use.is_finished]
    return all(read_manifest(folder) is not None for folder in folders)


def _report(recipe: Recipe, results: Sequence[TrialResult], planned: int, run: Path, terminal: Terminal) -> Built:
    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.sweep.page.write import write_sweep

        return write_sweep(recipe, results, planned, folder)

    settings = {"recipe": public_recipe(recipe.model_dump(mode="json", exclude={"cluster"})), "planned": planned}
    digests = {result.trial.name: sha256(result.model_dump_json().encode()).hexdigest() for result in results}
    built = finish(Stage("sweep", "sweep's report", STAGE_VERSION, settings, digests, "report.*", make), run, terminal)
    if isinstance(built, StageError):
        raise built.error
    return built


def _in_words(statuses: Counter[str]) -> str:
    words = {"ok": "ok", "stopped": "given up", "refused": "refused", "failed": "failed"}
    return ", ".join(f"{statuses[status]} {word}" for status, word in words.items() if statuses[status]) or "no trials"
