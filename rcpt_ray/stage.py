"""A stage and how it is finished: found by its fingerprint, or made and given its manifest last."""

import time
from collections.abc import Callable, Mapping
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

    @property
    def fingerprint(self) -> str | None:
        """16 hex digits, None while an input is missing."""
        known = {name: digest for name, digest in self.inputs.items() if digest is not None}
        if len(known) < len(self.inputs):
            return None
        return fingerprint(self.name, self.version, self.settings, known)


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


def once(build: Callable[[Stage], Built]) -> Callable[[Stage], Built]:
    """`build`, called only once for stages that arms share; those have equal definitions."""
    built: dict[str, Built] = {}

    def build_once(stage: Stage) -> Built:
        key = canonical_json([stage.name, stage.version, stage.settings, stage.inputs])
        # Stages whose inputs are not finished are alike only by accident, unless their titles agree too.
        key = key if stage.fingerprint else key + stage.title
        if key not in built:
            built[key] = build(stage)
        return built[key]

    return build_once


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
        outcome = stage.make(folder, bar)
        manifest = _manifest(stage, outcome, folder, time.monotonic() - started)
        write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=1))
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
    )


def _summary(manifest: Manifest) -> str:
    counts = manifest.counts
    words = [f"{counts.num_ok:,} of {counts.num_in:,} ({counts.unit})"]
    if counts.rejected:
        words.append(f"rejected {canonical_json(counts.rejected)}")
    words += [f"{value:,.0f} {name.replace('_per_s', '/s')}" for name, value in manifest.throughput.items()]
    return ", ".join([*words, f"{manifest.seconds:.0f} s"])
