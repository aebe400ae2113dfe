"""A stage, what it is on disk, and the builder that finishes it or looks it up. How it is finished: finishing.py."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Manifest, Outcome, canonical_json, fingerprint, read_manifest
from rcpt_ray.errors import reason_of
from rcpt_ray.terminal import Bar

FAILURE = "failure.json"


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
    variant: str = ""
    """The variant that it is made for; empty where it may be for several."""

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
    make: Callable[[Sequence[Any], Sequence[Path], Bar], Sequence[Outcome | Exception]]
    """Takes the stages' jobs, their folders and a bar; gives each its outcome, or why there is none."""


class StageError(Exception):
    """A stage failed; `error` is why, and `reason` the same in a sentence."""

    def __init__(self, stage: Stage, error: Exception) -> None:
        self.stage, self.error, self.reason = stage, error, reason_of(error)
        super().__init__(f"{stage.title}: {self.reason}")


@dataclass(frozen=True)
class Built:
    """A stage's folder and manifest; both None where it is planned but not finished."""

    stage: Stage
    folder: Path | None
    manifest: Manifest | None
    made_now: bool = False
    """Whether it was finished here and now; else it was found."""

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

    def __init__(self, build: Callable[[Sequence[Stage]], Sequence[Built | StageError]]) -> None:
        self._build, self._built = build, dict[str, Built | StageError]()

    @classmethod
    def looking_up(cls, run: Path) -> "Builder":
        """A builder that makes nothing and finds what is in a run folder."""
        return cls(lambda stages: [look_up(stage, run) for stage in stages])

    def one(self, stage: Stage) -> Built:
        """One stage; StageError where it failed, now or when it was built for another arm."""
        (built,) = self.all([stage])
        if isinstance(built, StageError):
            raise built
        return built

    def all(self, stages: Sequence[Stage]) -> list[Built | StageError]:
        """Several stages that do not need each other; one that fails does not stop the others."""
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


def failure_of(folder: Path | None) -> str:
    """Why the last making of an unfinished stage failed, in a sentence; empty where it did not."""
    try:
        told = (folder / FAILURE).read_text(encoding="utf-8") if folder is not None else ""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return str(json.loads(told)["reason"]) if told else ""


def failed_since(folder: Path, since_s: float) -> bool:
    """Whether an unfinished stage has failed since a time, in seconds since the epoch."""
    try:
        return (folder / FAILURE).stat().st_mtime > since_s
    except FileNotFoundError:
        return False
