"""What of a recipe and of a run's sentences others may read: settings and names, not where things are on a machine.

Invariant: what is public stays as it is when it is made public once more.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rcpt_ray.artifacts import run_path
from rcpt_ray.corpus.reading.paths import public_path
from rcpt_ray.report.inputs import ReportInputs

_PATH: Final = re.compile(r"(file://|~\w*/|\.{1,2}/|/)\S[^\n]*")
"""A value that is a path: absolute, from a home folder, or from the folder at hand."""
_PATH_IN_WORDS: Final = re.compile(r"""(?<![\w/:.~<-])(?:file://|~\w*|\.{1,2})?(?:/[^\s/'"`(),;:<>\[\]]+)+/?""")
"""A path among words; neither the slashes of `web/raw` and `</think>` nor those of s3://bucket/key."""


def public_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved recipe without `run` and `cluster.address`, and with paths as their last names.

    >>> public_recipe({"run": "runs/a", "student": {"reference": "/models/tiny/"}, "cluster": {"address": "head:6379"}})
    {'student': {'reference': 'tiny'}, 'cluster': {}}
    """
    values = {name: _public(value) for name, value in recipe.items() if name != "run"}
    if isinstance(values.get("cluster"), dict):
        values["cluster"].pop("address", None)
    return values


def public_words(words: str, run: str = "") -> str:
    """A sentence with RUN for the run folder, and with other paths as their last names.

    >>> public_words("/data/runs/a/training has no room for /models/tiny", "/data/runs/a")
    'RUN/training has no room for tiny'
    """
    for folder in dict.fromkeys([str(run_path(run)), run.rstrip("/")] if run.strip("/") else []):
        words = re.sub(rf"(?<![\w/.~-]){re.escape(folder)}(?![\w.-]*\w)", "RUN", words)
    return _PATH_IN_WORDS.sub(lambda found: _last_name(found[0]), words)


def public_inputs(inputs: ReportInputs) -> ReportInputs:
    """The inputs with the sentences about models and failures as others may read them."""
    run = inputs.recipe.run
    return replace(
        inputs,
        student=public_words(inputs.student),
        teacher=public_words(inputs.teacher),
        arms=[replace(arm, failure=public_words(arm.failure, run)) for arm in inputs.arms],
    )


def _public(value: Any) -> Any:
    match value:
        case str() if _PATH.fullmatch(value):
            return _last_name(value)
        case dict():
            return {name: _public(item) for name, item in value.items()}
        case list() | tuple():
            return [_public(item) for item in value]
        case _:
            return value


def _last_name(path: str) -> str:
    return public_path(path.removeprefix("file://")) or path
