"""One command that makes stages: run folder, terminal, log, cluster, and the words at the end."""

import time
import traceback
from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import open_run
from rcpt_ray.errors import UserError
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.pipeline import Pipeline, build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, finish_all
from rcpt_ray.terminal import Terminal, quiet_terminal


class StageFailed(SystemExit):
    """A stage failed for a reason that is not the user's mistake; exit code 1, details in the log."""


def run_command(recipe: Recipe, until: str) -> Pipeline:
    """Make the stages up to and including `until`, or find them finished.

    Raises:
        UserError: a mistake that the user can mend.
        StageFailed: a stage failed; the log holds the traceback.
    """
    started = time.monotonic()
    run = open_run(recipe.run, recipe.model_dump(mode="json"))
    log = run / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{until}.log"
    with quiet_terminal(log) as terminal:
        terminal.say(f"run {recipe.name} in {run}, log {log.relative_to(run)}")
        try:
            with cluster.session():
                builder = Builder(lambda stages: finish_all(stages, run, terminal))
                done = build_pipeline(
                    recipe, builder, until, lambda spec, tokenizer_only: _resolve(spec, tokenizer_only, terminal)
                )
        except UserError:
            raise
        except Exception as error:
            mistake = _user_error(error)
            if mistake is not None:
                raise mistake from None
            traceback.print_exc()
            terminal.say(f"failed: {_last_line(error)}; the whole story is in {log}")
            raise StageFailed(1) from None
        _say_end(done, terminal, time.monotonic() - started)
    return done


def _resolve(spec: ModelSpec, tokenizer_only: bool, terminal: Terminal) -> ResolvedModel:
    with terminal.bar(f"model {spec.reference}") as bar:
        bar.note("fetch, convert and check, the first time only")
        return resolve_model(spec.reference, revision=spec.revision, tokenizer_only=tokenizer_only)


def _user_error(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception that came through a worker process."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return UserError(str(seen).strip().splitlines()[-1].removeprefix("rcpt_ray.errors.UserError: "))
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


def _say_end(done: Pipeline, terminal: Terminal, seconds: float) -> None:
    terminal.say(f"done in {seconds:.0f} s")
    if done.report is not None:
        for name in ("report.html", "report.md"):
            terminal.say(f"report   {Path(done.report.path) / name}")
