"""What a run leaves on disk: run folder, stage folders, fingerprints, manifests, atomic writes.

    RUN/recipe.json                          the resolved recipe of the last command
    RUN/<stage>/<fingerprint>/part-*.parquet the stage's rows (or other files)
    RUN/<stage>/<fingerprint>/manifest.json  written last: with it the stage is finished, without it it is resumed

Invariants: a file is written beside its place and renamed into it, so a killed process leaves no half file under a
final name; a fingerprint covers what defines a result (settings, digests of the inputs' outputs, the model's checksum,
the stage's version) and never where it ran.
"""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, model_validator

from rcpt_ray.errors import UserError
from rcpt_ray.spread import side_by_side

LAYOUT_VERSION = 1
_GONE = ".work.gone"


class Counts(BaseModel):
    """Rows in and out of a stage in its unit; refuses figures that do not add up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    num_in: int
    num_ok: int
    rejected: dict[str, int] = {}

    @classmethod
    def of(cls, unit: str, num_ok: int, rejected: Mapping[str, int]) -> "Counts":
        """Counts of rows that were all either kept or rejected with a reason."""
        return cls(
            unit=unit,
            num_in=num_ok + sum(rejected.values()),
            num_ok=num_ok,
            rejected=dict(sorted(rejected.items())),
        )

    @model_validator(mode="after")
    def _adds_up(self) -> "Counts":
        if self.num_in != self.num_ok + sum(self.rejected.values()):
            raise ValueError(f"in={self.num_in} is not ok={self.num_ok} + rejected={self.rejected}")
        return self


class Manifest(BaseModel):
    """The record of a finished stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT_VERSION
    stage: str
    fingerprint: str
    stage_version: int
    inputs: dict[str, str]
    config: dict[str, Any]
    counts: Counts
    tokens: dict[str, int] = {}
    details: dict[str, Any] = {}
    output_digest: str
    seconds: float
    throughput: dict[str, float] = {}
    hardware: dict[str, Any] = {}
    versions: dict[str, str] = {}
    cost: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What the code of a stage returns: counts and figures for the manifest."""

    counts: Counts
    tokens: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    throughput: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None


def fingerprint(stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """16 hex digits over what defines a stage's result."""
    content = {"stage": stage, "version": version, "settings": settings, "inputs": dict(inputs)}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def open_run(path: str | Path, recipe_json: Mapping[str, Any]) -> Path:
    """Make or reopen a run folder and record the resolved recipe in it.

    Raises:
        UserError: the folder cannot be written, or was made by an incompatible version of the layout.
    """
    if "://" in str(path):
        raise UserError(f"run={path} is not a local folder; give a path on a disk that every node mounts")
    run = run_path(path)
    try:
        recorded = read_run_recipe(run) if (run / "recipe.json").exists() else None
        if recorded is None and run.is_dir() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise UserError(f"run={path} is a folder that holds other files; give a new folder or one made by rcpt")
        run.mkdir(parents=True, exist_ok=True)
        write_atomic(run / "recipe.json", json.dumps({"layout": LAYOUT_VERSION, "recipe": recipe_json}, indent=1))
    except OSError as error:
        raise UserError(f"run={path} cannot be written ({error.strerror}); give a folder that you may write") from None
    return run


def run_path(path: str | Path) -> Path:
    """The absolute path of a run folder."""
    return Path(os.path.expanduser(path)).absolute()


def read_run_recipe(run: Path) -> dict[str, Any]:
    """The resolved recipe of a run folder; UserError if it is none of this layout."""
    try:
        recorded = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
        layout = recorded["layout"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{run} is not a run folder: it has no recipe.json; give a folder made by rcpt") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise UserError(f"{run}/recipe.json is not a recipe of rcpt; give another run folder") from None
    if layout != LAYOUT_VERSION:
        raise UserError(
            f"{run} has layout {layout} but this version reads layout {LAYOUT_VERSION}; give a new run folder"
        )
    recipe = recorded.get("recipe")
    return dict(recipe) if isinstance(recipe, dict) else {}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a stage folder, None while the stage is not finished."""
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Manifest.model_validate_json(text)


@contextlib.contextmanager
def hold(folder: Path, waits: bool = False) -> Iterator[None]:
    """Hold a stage folder in the making, UserError where another does and this one does not wait.

    The lock ends with its process, so a killed holder blocks nobody.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "making.lock")
    try:
        lock.acquire(timeout=-1 if waits else 0)
    except Timeout:
        raise UserError(f"{folder} is being made by another rcpt process; wait for it or give another run=") from None
    try:
        yield
    finally:
        lock.release()


def write_atomic(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file beside its place, then rename it into it; `durable` waits until it would outlive a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(temporary, path)


def make_durable(*paths: Path) -> None:
    """Wait until files that were written, or folders in which names were made, would outlive a loss of power."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file's content."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file beside its place, then rename it into it."""
    write_atomic(path, table_bytes(table))


def read_parts(folder: Path, pattern: str = "part-*.parquet") -> list[Path]:
    """The part files of a finished stage, in the order of their names."""
    return sorted(folder.glob(pattern))


def make_work(folder: Path) -> Path:
    """The folder for what a stage needs while it is made; what a killed making left in it is gone on with."""
    shutil.rmtree(folder / _GONE, ignore_errors=True)
    for half_written in folder.glob(".*.tmp"):
        half_written.unlink()
    work = folder / "work"
    work.mkdir(exist_ok=True)
    for half_written in work.glob(".*.tmp"):
        half_written.unlink()
    return work


def remove_work(work: Path) -> None:
    """Remove a work folder, at once for whoever looks: a receipt never outlives what it speaks of."""
    gone = work.with_name(_GONE)
    work.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def remove_parts(folder: Path, keep: Container[str] = ()) -> None:
    """Remove the part files of an earlier making, but those of the names to keep."""
    for part in folder.glob("part-*.parquet"):
        if part.name not in keep:
            part.unlink()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def output_digest(files: Iterable[Path], root: Path) -> str:
    """sha256 over the names (relative to root) and contents of a stage's output files."""
    lines = side_by_side(lambda path: f"{path.relative_to(root)} {file_sha256(path)}\n", sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
