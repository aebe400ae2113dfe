"""What a recipe's corpus and thoughts must not hold: the questions of its evaluation, and of files that it names."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rcpt_ray.corpus.reading.files import SourceFile, digest_files, list_files
from rcpt_ray.evaluation.files import task_files
from rcpt_ray.recipe import Recipe

if TYPE_CHECKING:
    from rcpt_ray.corpus.decontaminate import EvaluationIndex


def evaluation_digests(recipe: Recipe) -> dict[str, str]:
    """Digests of the files, by the names of their sets; empty where nothing is decontaminated.

    Raises:
        UserError: a path names no file.
    """
    return {f"decontaminate/{name}": digest_files(files) for name, files in _files(recipe)}


def evaluation_index(recipe: Recipe) -> "EvaluationIndex | None":
    """The index of all questions; None where nothing is decontaminated.

    Raises:
        UserError: a file cannot be read, or a row is neither a question nor a text.
    """
    from rcpt_ray.corpus.decontaminate import EvaluationIndex

    spec = recipe.corpus.decontaminate
    return None if spec is None else EvaluationIndex.build(_texts(recipe), spec)


def _files(recipe: Recipe) -> Iterator[tuple[str, list[SourceFile]]]:
    """The files of each set by its name: questions, the local data of stock tasks, and what the recipe names."""
    spec = recipe.corpus.decontaminate
    if spec is None:
        return
    for name, task in recipe.evaluation.tasks.items():
        for use, files in task_files(f"evaluation.tasks.{name}", task).items():
            if use != "examples":
                yield name if use == "questions" else f"{name}/{use}", files
    for number, path in enumerate(spec.more_paths):
        yield f"more-{number}", list_files(f"corpus.decontaminate.more_paths.{number}", path)


def _texts(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
    from rcpt_ray.corpus.reading.read import read_records

    for name, files in _files(recipe):
        yield from read_evaluation_texts(name, (record for file in files for record, _ in read_records(file)))
