"""What a recipe's corpus and thoughts must not hold: the questions of its evaluation, and of files that it names."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rcpt_ray.corpus.reading.files import digest_files, list_files
from rcpt_ray.recipe import Recipe

if TYPE_CHECKING:
    from rcpt_ray.corpus.decontaminate import EvaluationIndex


def evaluation_digests(recipe: Recipe) -> dict[str, str]:
    """Digests of the files, by the names of their sets; empty where nothing is decontaminated.

    Raises:
        UserError: a path names no file.
    """
    return {f"decontaminate/{name}": digest_files(list_files(*place)) for name, place in _places(recipe)}


def evaluation_index(recipe: Recipe) -> "EvaluationIndex | None":
    """The index of all questions; None where nothing is decontaminated.

    Raises:
        UserError: a file cannot be read, or a row is neither a question nor a text.
    """
    from rcpt_ray.corpus.decontaminate import EvaluationIndex

    spec = recipe.corpus.decontaminate
    return None if spec is None else EvaluationIndex.build(_texts(recipe), spec)


def _places(recipe: Recipe) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name of each set with the setting and its path."""
    spec = recipe.corpus.decontaminate
    if spec is None:
        return
    for name, task in recipe.evaluation.tasks.items():
        yield name, (f"evaluation.tasks.{name}.path", task.path)
    for number, path in enumerate(spec.more_paths):
        yield f"more-{number}", (f"corpus.decontaminate.more_paths.{number}", path)


def _texts(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    from rcpt_ray.corpus.evaluation_texts import read_evaluation_texts
    from rcpt_ray.corpus.reading.read import read_path

    for name, place in _places(recipe):
        yield from read_evaluation_texts(name, (record for record, _, _ in read_path(*place)))
