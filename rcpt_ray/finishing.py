"""Finishing stages: each is found by its fingerprint, or made and given its manifest last.

Stages that start the same expensive thing (the training workers of several arms) are made together. A stage that fails
leaves failure.json in its folder until it is made again, and does not stop those that do not need it.
"""

import contextlib
import json
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rcpt_ray import hardware
from rcpt_ray.artifacts import Manifest, Outcome, canonical_json, hold, output_digest, read_manifest, write_atomic
from rcpt_ray.errors import UserError, WorkStopped
from rcpt_ray.stage import FAILURE, Built, Stage, StageError, Together, failed_since, failure_of, look_up
from rcpt_ray.terminal import Terminal


def finish(stage: Stage, run: Path, terminal: Terminal, waits: bool = False) -> Built | StageError:
    """The finished stage, as found or made now, or why it cannot be made.

    One that another process holds is waited for, or refused; one that failed while it was waited for has failed.
    """
    found = look_up(stage, run)
    if found.manifest is not None:
        terminal.say(f"found    {stage.title}  {stage.name}/{stage.fingerprint}")
        return found
    began_s = time.time()
    try:
        with terminal.bar(stage.title) as bar, hold(found.path, waits):
            made_meanwhile = read_manifest(found.path)
            if made_meanwhile is not None:
                return Built(stage, found.path, made_meanwhile)
            if waits and failed_since(found.path, began_s):
                return StageError(stage, WorkStopped(failure_of(found.path)))
            (found.path / FAILURE).unlink(missing_ok=True)
            started = time.monotonic()
            try:
                outcome: Outcome | Exception = stage.make(found.path, bar)
            except Exception as error:
                outcome = error
            return _ended(stage, outcome, found.path, time.monotonic() - started, terminal)
    except UserError as held_by_another:
        return StageError(stage, held_by_another)


def finish_all(stages: Sequence[Stage], run: Path, terminal: Terminal, waits: bool = False) -> list[Built | StageError]:
    """Stages that do not need each other, finished; those that are to be made and fit together are made together."""
    to_do: dict[object, list[Stage]] = {}
    for stage in stages:
        if stage.together is not None and look_up(stage, run).manifest is None:
            to_do.setdefault(stage.together.key, []).append(stage)
    made: dict[str | None, Built | StageError] = {}
    for fitting in to_do.values():
        if len(fitting) > 1:
            made |= _make_together(fitting, run, terminal, waits)
    return [made.get(stage.fingerprint) or finish(stage, run, terminal, waits) for stage in stages]


def _make_together(
    stages: Sequence[Stage], run: Path, terminal: Terminal, waits: bool
) -> dict[str | None, Built | StageError]:
    """What became of each stage, by its fingerprint."""
    ended: dict[str | None, Built | StageError] = {}
    title = f"{stages[0].title} and {len(stages) - 1} more"
    with contextlib.ExitStack() as held, terminal.bar(title) as bar:
        to_do: list[tuple[Stage, Path, Together]] = []
        for stage in stages:
            try:
                held.enter_context(hold(look_up(stage, run).path, waits))
            except UserError as held_by_another:
                ended[stage.fingerprint] = StageError(stage, held_by_another)
                continue
            # Another command may have finished it before this one came to hold it.
            now = look_up(stage, run)
            if now.manifest is not None:
                ended[stage.fingerprint] = now
            elif stage.together is not None:
                (now.path / FAILURE).unlink(missing_ok=True)
                to_do.append((stage, now.path, stage.together))
        if not to_do:
            return ended
        started = time.monotonic()
        try:
            outcomes = to_do[0][2].make([together.job for _, _, together in to_do], [path for _, path, _ in to_do], bar)
        except Exception as error:
            outcomes = [error] * len(to_do)
        seconds = (time.monotonic() - started) / len(to_do)
        for (stage, folder, _), outcome in zip(to_do, outcomes, strict=True):
            ended[stage.fingerprint] = _ended(stage, outcome, folder, seconds, terminal)
    return ended


def _ended(
    stage: Stage, outcome: Outcome | Exception, folder: Path, seconds: float, terminal: Terminal
) -> Built | StageError:
    """Write the manifest, last of all, or why there is none, and say so."""
    if isinstance(outcome, Outcome):
        return _finished(stage, outcome, folder, seconds, terminal)
    failed = StageError(stage, outcome)
    traceback.print_exception(outcome)
    write_atomic(folder / FAILURE, json.dumps({"reason": failed.reason}, ensure_ascii=False))
    terminal.say(f"failed   {stage.title}  {stage.name}/{stage.fingerprint}  {failed.reason}")
    return failed


def _finished(stage: Stage, outcome: Outcome, folder: Path, seconds: float, terminal: Terminal) -> Built:
    """Write the manifest, last of all, and say so."""
    manifest = _manifest(stage, outcome, folder, seconds)
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1), durable=True)
    terminal.say(f"made     {stage.title}  {stage.name}/{stage.fingerprint}  {_summary(manifest)}")
    return Built(stage, folder, manifest, made_now=True)


def _manifest(stage: Stage, outcome: Outcome, folder: Path, seconds: float) -> Manifest:
    assert stage.fingerprint is not None
    return Manifest(
        stage=stage.name,
        fingerprint=stage.fingerprint,
        stage_version=stage.version,
        inputs={name: digest for name, digest in stage.inputs.items() if digest is not None},
        config=dict(stage.settings),
        counts=outcome.counts,
        tokens=dict(outcome.tokens),
        details=dict(outcome.details),
        output_digest=output_digest(folder.glob(stage.outputs), folder),
        seconds=round(seconds, 3),
        throughput={name: round(value, 3) for name, value in outcome.throughput.items()},
        hardware=hardware.describe(),
        versions=hardware.versions(),
        cost=outcome.cost,
    )


def _summary(manifest: Manifest) -> str:
    counts = manifest.counts
    words = [f"{counts.num_ok:,} of {counts.num_in:,} ({counts.unit})"]
    if counts.rejected:
        words.append(f"rejected {canonical_json(counts.rejected)}")
    words += [f"{value:,.0f} {name.replace('_per_s', '/s')}" for name, value in manifest.throughput.items()]
    return ", ".join([*words, f"{manifest.seconds:.0f} s"])
