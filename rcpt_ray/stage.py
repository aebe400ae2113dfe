"""A stage and how it is finished: found by its fingerprint, or made and given its manifest last.

Stages that start the same expensive thing (the training workers of several arms) are made together.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcpt_ray import hardware
from rcpt_ray.artifacts import (
    Manifest,
    Outcome,
    canonical_json,
    fingerprint,
    hold,
    output_digest,
    read_manifest,
    write_atomic,
)
from rcpt_ray.terminal import Bar, Terminal


@dataclass(frozen=True)
class Stage:
    """One stage of one recipe: what defines it, and the code that makes it.

    An input whose digest is None is not finished yet; then the stage has no fingerprint yet either.
    """

    name: str
    title: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str | None]
    outputs: str
    """Glob of the files that the output digest covers."""
    make: Callable[[Path, Bar], Outcome]
    together: "Together | None" = None
    """How this stage is made with others of its kind in one go."""

    @property
    def fingerprint(self) -> str | None:
        """16 hex digits, None while an input is missing."""
        known = {name: digest for name, digest in self.inputs.items() if digest is not None}
        if len(known) < len(self.inputs):
            return None
        return fingerprint(self.name, self.version, self.settings, known)


@dataclass(frozen=True)
class Together:
    """Makes several stages at once; stages with equal keys fit together."""

    key: object
    job: Any
    make: Callable[[Sequence[Any], Sequence[Path], Bar], Sequence[Outcome]]
    """Takes the stages' jobs, their folders and a bar."""


@dataclass(frozen=True)
class Built:
    """A stage's folder and manifest; both None where it is planned but not finished."""

    stage: Stage
    folder: Path | None
    manifest: Manifest | None

    @property
    def digest(self) -> str | None:
        """Digest of the outputs, None while the stage is not finished."""
        return self.manifest.output_digest if self.manifest else None

    @property
    def path(self) -> Path:
        """The folder of a finished stage."""
        assert self.folder is not None, f"{self.stage.title} is not finished"
        return self.folder

    @property
    def record(self) -> Manifest:
        """The manifest of a finished stage."""
        assert self.manifest is not None, f"{self.stage.title} is not finished"
        return self.manifest

    def parts(self, pattern: str) -> list[Path]:
        """Files of a finished stage, by name."""
        return sorted(self.path.glob(pattern))


class Builder:
    """Builds stages by `build`; a stage that arms share, equal in its definition, is built once."""

    def __init__(self, build: Callable[[Sequence[Stage]], Sequence[Built]]) -> None:
        self._build, self._built = build, dict[str, Built]()

    @classmethod
    def looking_up(cls, run: Path) -> "Builder":
        """A builder that makes nothing and finds what is in a run folder."""
        return cls(lambda stages: [look_up(stage, run) for stage in stages])

    def one(self, stage: Stage) -> Built:
        """One stage."""
        return self.all([stage])[0]

    def all(self, stages: Sequence[Stage]) -> list[Built]:
        """Several stages that do not need each other."""
        new = {key: stage for stage in stages if (key := self._key(stage)) not in self._built}
        self._built |= dict(zip(new, self._build(list(new.values())), strict=True))
        return [self._built[self._key(stage)] for stage in stages]

    @staticmethod
    def _key(stage: Stage) -> str:
        # Stages whose inputs are not finished are alike only by accident, unless their titles agree too.
        definition = canonical_json([stage.name, stage.version, stage.settings, stage.inputs])
        return definition if stage.fingerprint else definition + stage.title


def look_up(stage: Stage, run: Path) -> Built:
    """The stage as it is on disk."""
    if stage.fingerprint is None:
        return Built(stage, None, None)
    folder = run / stage.name / stage.fingerprint
    return Built(stage, folder, read_manifest(folder))


def finish(stage: Stage, run: Path, terminal: Terminal) -> Built:
    """The finished stage: as found, or made now."""
    found = look_up(stage, run)
    if found.manifest is not None:
        terminal.say(f"found    {stage.title}  {stage.name}/{stage.fingerprint}")
        return found
    folder = found.folder
    assert folder is not None, f"inputs of {stage.title} are not finished"
    started = time.monotonic()
    with hold(folder), terminal.bar(stage.title) as bar:
        made_meanwhile = read_manifest(folder)
        if made_meanwhile is not None:
            return Built(stage, folder, made_meanwhile)
        outcome = stage.make(folder, bar)
        return _finished(stage, outcome, folder, time.monotonic() - started, terminal)


def finish_all(stages: Sequence[Stage], run: Path, terminal: Terminal) -> list[Built]:
    """Stages that do not need each other, finished; those that are to be made and fit together are made together."""
    to_do: dict[object, list[Stage]] = {}
    for stage in stages:
        if stage.together is not None and look_up(stage, run).manifest is None:
            to_do.setdefault(stage.together.key, []).append(stage)
    made: dict[str | None, Built] = {}
    for fitting in to_do.values():
        if len(fitting) > 1:
            made |= {built.stage.fingerprint: built for built in _make_together(fitting, run, terminal)}
    return [made.get(stage.fingerprint) or finish(stage, run, terminal) for stage in stages]


def _make_together(stages: Sequence[Stage], run: Path, terminal: Terminal) -> list[Built]:
    title = ", ".join(stage.title for stage in stages)
    with contextlib.ExitStack() as held, terminal.bar(title) as bar:
        for stage in stages:
            folder = look_up(stage, run).folder
            assert folder is not None, f"inputs of {stage.title} are not finished"
            held.enter_context(hold(folder))
        # Another command may have finished some of them before this one came to hold them.
        now = [look_up(stage, run) for stage in stages]
        to_do = [
            (built.stage, built.path, together)
            for built in now
            if built.manifest is None and (together := built.stage.together) is not None
        ]
        if not to_do:
            return now
        started = time.monotonic()
        outcomes = to_do[0][2].make([together.job for _, _, together in to_do], [path for _, path, _ in to_do], bar)
        seconds = (time.monotonic() - started) / len(to_do)
        made = [
            _finished(stage, outcome, folder, seconds, terminal)
            for (stage, folder, _), outcome in zip(to_do, outcomes, strict=True)
        ]
        return [built for built in now if built.manifest is not None] + made


def _finished(stage: Stage, outcome: Outcome, folder: Path, seconds: float, terminal: Terminal) -> Built:
    """Write the manifest, last of all, and say so."""
    manifest = _manifest(stage, outcome, folder, seconds)
    write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1), durable=True)
    terminal.say(f"made     {stage.title}  {stage.name}/{stage.fingerprint}  {_summary(manifest)}")
    return Built(stage, folder, manifest)


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
