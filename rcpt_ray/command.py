"""One command that makes stages: run folder, terminal, log, cluster, and the words at the end."""

import re
import time
import traceback
from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import open_run
from rcpt_ray.errors import UserError, WorkStopped
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.pipeline import Pipeline, Resolve, build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, finish_all
from rcpt_ray.terminal import Terminal, quiet_terminal

_NAMED_ERROR = re.compile(r"(\w+\.)*\w*(Error|Exception|Timeout)(:|$)")


class StageFailed(SystemExit):
    """A stage failed for a reason that is not the user's mistake; exit code 1, details in the log."""


def run_command(recipe: Recipe, until: str, retry_rejected: bool = False) -> Pipeline:
    """Make the stages up to and including `until`, or find them finished.

    `retry_rejected` opens finished thoughts with rejected rows again, and tries these once more.

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

                def resolve(spec: ModelSpec, tokenizer_only: bool) -> ResolvedModel:
                    return _resolve(spec, tokenizer_only, terminal)

                if retry_rejected:
                    _open_again(recipe, run, resolve, terminal)
                builder = Builder(lambda stages: finish_all(stages, run, terminal))
                done = build_pipeline(recipe, builder, until, resolve)
        except UserError:
            raise
        except Exception as error:
            raise failure(error, terminal, log) from None
        _say_end(done, terminal, time.monotonic() - started)
    return done


def _resolve(spec: ModelSpec, tokenizer_only: bool, terminal: Terminal) -> ResolvedModel:
    with terminal.bar(f"model {spec.reference}") as bar:
        bar.note("fetch, convert and check, the first time only")
        return resolve_model(spec.reference, revision=spec.revision, tokenizer_only=tokenizer_only)


def failure(error: Exception, terminal: Terminal, log: Path) -> Exception | SystemExit:
    """What to raise for an error of a command: the user's mistake behind it, else StageFailed once all is logged."""
    mistake = _user_error(error)
    if mistake is not None:
        return mistake
    traceback.print_exception(error)
    told = str(error) if isinstance(error, WorkStopped) else _last_line(error)
    terminal.say(f"failed: {told}; the whole story is in {log}")
    return StageFailed(1)


def _open_again(recipe: Recipe, run: Path, resolve: Resolve, terminal: Terminal) -> None:
    """Open the thoughts of all arms that have rejected rows, so that these are tried once more."""
    from rcpt_ray.thoughts.outcome import begin_retry

    planned = build_pipeline(recipe, Builder.looking_up(run), "thoughts", resolve)
    generated = {arm.generated.folder for arm in planned.arms.values() if arm.generated and arm.generated.folder}
    num_rows = sum(begin_retry(folder) for folder in generated)
    terminal.say(f"{num_rows:,} rejected thoughts are tried again" if num_rows else "no rejected thoughts to try again")


def _user_error(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception that came through a worker process."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return UserError(str(seen).strip().splitlines()[-1].removeprefix("rcpt_ray.errors.UserError: "))
        seen = getattr(seen, "cause", None) or seen.__cause__
    return None


def _last_line(error: BaseException) -> str:
    """The error that a worker's traceback ends with, else the last line of the error itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    named = [line.strip() for line in lines if _NAMED_ERROR.match(line) and not line.startswith("ray.exceptions.")]
    if named:
        return named[-1]
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__


def _say_end(done: Pipeline, terminal: Terminal, seconds: float) -> None:
    terminal.say(f"done in {seconds:.0f} s")
    if done.report is not None:
        for name in ("report.html", "report.md"):
            terminal.say(f"report   {Path(done.report.path) / name}")
