"""One command that makes stages: run folder, terminal, log, cluster, and the words at the end."""

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import open_run
from rcpt_ray.errors import UserError, reason_of, user_error_behind
from rcpt_ray.finishing import finish, finish_all
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.pipeline import Pipeline, build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, Built, Stage, StageError, look_up
from rcpt_ray.terminal import Terminal, quiet_terminal
from rcpt_ray.written import Resolve


class StageFailed(SystemExit):
    """A stage failed for a reason that is not the user's mistake; exit code 1, details in the log."""


@contextlib.contextmanager
def in_run(recipe: Recipe, name: str) -> Iterator[tuple[Path, Terminal, Path]]:
    """The run folder, the terminal and the log of a command; all but its own words goes to the log.

    Raises:
        UserError: the run folder cannot be used, or the command ended with a user's mistake.
        StageFailed: it ended with anything else; the log holds the traceback.
    """
    run = open_run(recipe.run, recipe.model_dump(mode="json"))
    log = run / "logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}.log"
    with quiet_terminal(log) as terminal:
        try:
            yield run, terminal, log
        except UserError:
            raise
        except Exception as error:
            raise failure(error.error if isinstance(error, StageError) else error, terminal, log) from None


def run_command(recipe: Recipe, until: str, retry_rejected: bool = False, as_is: bool = False) -> Pipeline:
    """Make the stages up to and including `until`, or find them finished.

    `retry_rejected` opens finished thoughts with rejected rows again, and tries these once more; `as_is` makes nothing
    but the report, of what is finished.

    Raises:
        UserError: a mistake that the user can mend, with which nothing can be made.
        StageFailed: a stage failed, of all variants or of some; the log holds the traceback.
    """
    started = time.monotonic()
    with in_run(recipe, until) as (run, terminal, log):
        terminal.say(f"run {recipe.name} in {run}, log {log.relative_to(run)}")
        with cluster.session(terminal.say):

            def resolve(spec: ModelSpec, tokenizer_only: bool) -> ResolvedModel:
                return _resolve(spec, tokenizer_only, terminal)

            if retry_rejected:
                _open_again(recipe, run, resolve, terminal)

            def build(stages: Sequence[Stage]) -> list[Built | StageError]:
                if not as_is:
                    return finish_all(stages, run, terminal)
                # Only the report is made.
                return [finish(one, run, terminal) if one.name == "report" else look_up(one, run) for one in stages]

            done = build_pipeline(recipe, Builder(build), until, resolve, as_is)
        _say_end(done, terminal, time.monotonic() - started)
        if done.failures or done.heldout_failure:
            _say_failures(done, terminal, log)
            raise StageFailed(1)
    return done


def _resolve(spec: ModelSpec, tokenizer_only: bool, terminal: Terminal) -> ResolvedModel:
    with terminal.bar(f"model {spec.reference}") as bar:
        bar.note("fetch, convert and check, the first time only")
        return resolve_model(
            spec.reference,
            revision=spec.revision,
            tokenizer_only=tokenizer_only,
            trust_remote_code=spec.trust_remote_code,
        )


def failure(error: Exception, terminal: Terminal, log: Path) -> Exception | SystemExit:
    """What to raise for an error of a command: the user's mistake behind it, else StageFailed once all is logged."""
    mistake = user_error_behind(error)
    if mistake is not None:
        return mistake
    traceback.print_exception(error)
    terminal.say(f"failed: {reason_of(error)}; the whole story is in {log}")
    return StageFailed(1)


def _open_again(recipe: Recipe, run: Path, resolve: Resolve, terminal: Terminal) -> None:
    """Open the thoughts of all arms, and those of held-out documents, that have rejected rows, to try these again.

    Those of held-out documents are written when the evaluation asks for them.
    """
    from rcpt_ray.thoughts.outcome import begin_retry

    until = "evaluation" if recipe.evaluation.heldout_thoughts else "thoughts"
    planned = build_pipeline(recipe, Builder.looking_up(run), until, resolve)
    written = [built for arm in planned.arms.values() for built in (arm.generated, arm.rewritten)]
    written.append(planned.heldout.generated)
    generated = {built.folder for built in written if built and built.folder}
    num_rows = sum(begin_retry(folder) for folder in generated)
    terminal.say(f"{num_rows:,} rejected thoughts are tried again" if num_rows else "no rejected thoughts to try again")


def _say_failures(done: Pipeline, terminal: Terminal, log: Path) -> None:
    """Each failed stage once, with the variants that it ended."""
    ended: dict[str, list[str]] = {}
    for name, error in done.failures.items():
        ended.setdefault(str(error), []).append(name)
    for reason, names in ended.items():
        terminal.say(f"failed: {reason} (without it: {', '.join(names)})")
    if done.heldout_failure is not None:
        terminal.say(f"failed: {done.heldout_failure} (nothing is told of held-out thoughts)")
    terminal.say(f"{len(done.failures)} of {len(done.arms)} variants failed; the whole story is in {log}")


def _say_end(done: Pipeline, terminal: Terminal, seconds: float) -> None:
    terminal.say(f"done in {seconds:.0f} s")
    if done.report is not None:
        for name in ("report.html", "report.md"):
            terminal.say(f"report   {Path(done.report.path) / name}")
