"""What a job takes with it to the cluster, and what it may not: pure work on files of this machine.

    recipe.yaml     the recipe as it is written; overrides go with the command
    rcpt_ray/       this package with its samples, so that the cluster runs the version that is here
    DATA            files that the recipe names by relative paths, each in its place

The folder is the job's working folder on every machine, so a relative path means there what it means here. Ray keeps
it in the memory of its control store, and takes 100 MiB at most; nothing here comes near: much data belongs on storage
that every machine reaches, and a model always does. The run folder too, or it would be lost with the job's folder.
"""

import filecmp
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

import rcpt_ray
from rcpt_ray.corpus.reading.files import SourceFile, list_files
from rcpt_ray.corpus.reading.paths import scheme_of
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.spec import StockTask
from rcpt_ray.recipe import Recipe
from rcpt_ray.settings import ModelSpec

RECIPE = "recipe.yaml"
_MIB = 2**20
_MOST_DATA_BYTES = 8 * _MIB
_MOST_BYTES = 32 * _MIB
_SHOWN = 3
_SHARED = "put it on storage that every machine of the cluster reaches and give its absolute path, s3:// or gs://"
_NEVER_PACKED = {"__pycache__"}


@dataclass(frozen=True)
class Packed:
    """What was packed."""

    num_files: int
    num_bytes: int
    data: tuple[str, ...]
    """The files that the recipe names, by their relative paths."""

    @property
    def in_words(self) -> str:
        """Number and size, such as `212 files, 1.9 MiB`."""
        return f"{self.num_files} files, {self.num_bytes / _MIB:.1f} MiB"


def refuse_unfit(recipe: Recipe) -> None:
    """UserError where a recipe names what a cluster cannot have: a relative run folder, a model of this machine."""
    if not recipe.run.startswith("/"):
        why = (
            "is on an object store, which has no locks and no renames"
            if scheme_of(recipe.run)
            else "is relative, so it would be lost with the job's working folder"
        )
        raise UserError(
            f"run={recipe.run} {why}; give an absolute path on a disk that every machine of the cluster mounts"
        )
    for setting, reference in _models(recipe):
        is_here = reference.startswith(("./", "../", "~")) or (Path(reference) / "config.json").is_file()
        if is_here and not reference.startswith("/"):
            raise UserError(
                f"{setting}={reference} is a folder of this machine; put it on storage that every machine of the "
                "cluster mounts and give its absolute path, or give a hub id"
            )


def pack(recipe_file: Path, recipe: Recipe, folder: Path, most_data_bytes: int = _MOST_DATA_BYTES) -> Packed:
    """Fill an empty folder with what the job needs.

    Args:
        recipe_file: The file that `recipe` was loaded from; copied as it is.
        recipe: What it says with its overrides, `refuse_unfit` before.
        folder: An empty folder.
        most_data_bytes: Of the files that the recipe names by relative paths, all together.

    Raises:
        UserError: a file is missing, lies outside this folder, or is too large.
    """
    data = dict(_data_files(recipe))
    _refuse_much(data, most_data_bytes)
    package = Path(rcpt_ray.__file__).parent
    for file in sorted(package.rglob("*")):
        if file.is_file() and not _NEVER_PACKED & set(file.parts):
            _copy(file, folder / package.name / file.relative_to(package))
    shutil.copyfile(recipe_file, folder / RECIPE)
    for inside, source in data.items():
        _copy(Path(source.path), folder / inside)
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    num_bytes = sum(sizes.values())
    if num_bytes > _MOST_BYTES:
        raise UserError(
            f"the job's folder has {num_bytes / _MIB:.0f} MiB, more than {_MOST_BYTES // _MIB}; the largest are "
            f"{_largest(sizes)}; take out of the package's folder what is no part of it"
        )
    return Packed(len(sizes), num_bytes, tuple(data))


def _data_files(recipe: Recipe) -> Iterator[tuple[str, SourceFile]]:
    """The files that relative paths of a recipe name, by their path in the job's folder."""
    here = Path.cwd()
    for setting, path in _data_paths(recipe):
        if scheme_of(path) is not None or path.startswith("/"):
            continue
        if path.startswith("~") or ".." in PurePosixPath(path).parts:
            raise UserError(f"{setting}={path} lies outside this folder, so the job cannot take it along; {_SHARED}")
        for file in list_files(setting, path):
            yield Path(file.path).relative_to(here).as_posix(), file


def _data_paths(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each path of a recipe that data is read from, with its setting."""
    for name, source in recipe.corpus.sources.items():
        yield f"corpus.sources.{name}.path", source.path
    if recipe.corpus.decontaminate is not None:
        for number, path in enumerate(recipe.corpus.decontaminate.more_paths):
            yield f"corpus.decontaminate.more_paths.{number}", path
    for name, task in recipe.evaluation.tasks.items():
        if isinstance(task, StockTask):
            for split, path in task.data.items():
                yield f"evaluation.tasks.{name}.data.{split}", path
            continue
        yield f"evaluation.tasks.{name}.path", task.path
        if task.examples_path is not None:
            yield f"evaluation.tasks.{name}.examples_path", task.examples_path


def _models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Each model that a recipe or one of its arms names, with its setting."""
    yield from _models_in(recipe, "")
    for name in recipe.arms:
        yield from _models_in(recipe.arm_settings(name), f"arms.{name}.overrides.")


def _models_in(value: Any, where: str) -> Iterator[tuple[str, str]]:
    match value:
        case ModelSpec():
            yield f"{where}reference", value.reference
        case BaseModel():
            for name in type(value).model_fields:
                yield from _models_in(getattr(value, name), f"{where}{name}.")


def _refuse_much(data: dict[str, SourceFile], most_bytes: int) -> None:
    sizes = {inside: file.size for inside, file in data.items()}
    if sum(sizes.values()) > most_bytes:
        raise UserError(
            f"the files that the recipe names by relative paths have {sum(sizes.values()) / _MIB:.2f} MiB, more than "
            f"the {most_bytes / _MIB:.3g} that a job takes along; the largest are {_largest(sizes)}; "
            + _SHARED.replace("put it", "put them").replace("its absolute path", "their absolute paths")
        )


def _largest(sizes: dict[str, int]) -> str:
    first = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
    return ", ".join(f"{name} ({sizes[name] / _MIB:.2f} MiB)" for name in first)


def _copy(source: Path, target: Path) -> None:
    if target.exists() and not filecmp.cmp(source, target, shallow=False):
        raise UserError(f"{source} would stand where the package's own {target.name} stands; rename it")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
