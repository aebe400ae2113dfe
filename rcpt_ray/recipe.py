"""A recipe: the settings of every stage and the arms to compare.

YAML, `key=value` on the command line, jobs and arms all make the same dictionary of dotted overrides, which is applied
to the recipe's file and validated once. After loading, nothing changes. Loading reads one file and imports nothing
heavy.
"""

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.comparison import ComparisonSpec, Variant, check_comparison, in_domain, variants_of
from rcpt_ray.corpus.spec import CorpusSpec
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.redact import refuse_secrets
from rcpt_ray.report.spec import ReportSpec
from rcpt_ray.settings import ModelSpec, Settings
from rcpt_ray.sweep.spec import SweepSpec
from rcpt_ray.sweep.trial_recipe import check_sweep
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.stream.rules import refuse_for_stream
from rcpt_ray.yaml_text import parse_yaml, plain, read_yaml

_NOT_FOR_ARMS = ("run", "name", "arms", "cluster", "student", "corpus", "report", "evaluation", "comparison", "sweep")


class ArmSpec(Settings):
    """One model of the comparison: the recipe with a few settings changed."""

    train: bool = True
    """False measures the student as it is."""
    description: str = ""
    """A sentence for the report."""
    overrides: dict[str, Any] = Field(default_factory=dict)
    """Dotted settings of thoughts, mixture or training that this arm changes."""


class Recipe(Settings):
    """Everything that defines a run."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the run in the report."""
    run: str = Field(min_length=1)
    """The run folder."""
    seed: int = Field(default=17, ge=0, lt=2**31)
    """The seed that every stage derives its own from."""
    student: ModelSpec
    """The model that is trained."""
    corpus: CorpusSpec
    thoughts: ThoughtsSpec
    mixture: MixtureSpec = MixtureSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    report: ReportSpec = ReportSpec()
    cluster: ClusterSpec = ClusterSpec()
    arms: dict[str, ArmSpec] = Field(min_length=1, max_length=200)
    """The arms by name, in the order of the report."""
    comparison: ComparisonSpec = ComparisonSpec()
    """The training domains and seeds that every trained arm is made over."""
    sweep: SweepSpec | None = None
    """What `rcpt sweep` tries."""
    layout: Literal[1] = 1
    """Version of the recipe's form."""

    @model_validator(mode="after")
    def _arms_make_sense(self) -> "Recipe":
        for name in self.arms:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"arms.{name}: a name of an arm may hold letters, digits, - and _ only")
        if self.report.baseline not in self.arms:
            raise ValueError(f"report.baseline={self.report.baseline} is not one of the arms: {', '.join(self.arms)}")
        if self.report.control is not None and self.report.control not in self.arms:
            raise ValueError(f"report.control={self.report.control} is not one of the arms: {', '.join(self.arms)}")
        for name in self.arms:
            settings = self.arm_settings(name)
            mixture, others = settings.mixture, settings.training.guard.others
            if others is not None and not _place(others.folder).is_relative_to(_place(self.run)):
                raise ValueError(
                    f"arms.{name}: training.guard.others.folder={others.folder} is outside of run={self.run}; leave it "
                    "out, a sweep sets it"
                )
            if settings.training.feed == "stream" and self.arms[name].train:
                refuse_for_stream(f"arms.{name}", mixture, settings.thoughts, settings.training)
            for component in mixture.weights or {}:
                self._check_component(name, component)
            matched = mixture.matched_to
            if matched is None:
                continue
            setting = "match_tokens_of" if mixture.match_tokens_of else "match_documents_of"
            if matched == name or matched not in self.arms or not self.arms[matched].train:
                raise ValueError(f"arms.{name}: mixture.{setting}={matched} must name another trained arm")
            if self.arm_settings(matched).training.feed == "stream":
                raise ValueError(
                    f"arms.{name}: mixture.{setting}={matched} must not name an arm with training.feed=stream, whose "
                    "mixture is known only when its training has ended; set training.feed=packed there"
                )
            if self.arm_settings(matched).mixture.matched_to is not None:
                raise ValueError(f"arms.{name}: mixture.{setting}={matched} is itself matched to another arm")
        check_comparison(self)
        if self.sweep is not None:
            check_sweep(self, self.sweep)
        if self.evaluation.heldout_thoughts and not self.corpus.heldout_share:
            raise ValueError(
                "evaluation.heldout_thoughts=true needs held-out documents, but corpus.heldout_share=0; raise that"
            )
        return self

    def _check_component(self, arm: str, component: str) -> None:
        source, _, kind = component.rpartition("/")
        role = "replay" if kind == "replay" else "study"
        known = [name for name, own in self.corpus.sources.items() if own.role == role]
        if source not in known:
            raise ValueError(
                f"arms.{arm}: mixture.weights.{component}: {source} is no source of role {role}; "
                f"those are {', '.join(known) or 'none'}"
            )

    @property
    def variants(self) -> dict[str, Variant]:
        """The arms over the training domains and seeds of the comparison, by name; without one the arms themselves."""
        return variants_of(self)

    def variant_settings(self, variant: Variant) -> "ArmSettings":
        """The settings of an arm as they are in one training domain."""
        settings = self.arm_settings(variant.arm)
        mixture = in_domain(settings.mixture, variant.arm, variant.training_domain, variant.sources)
        return settings.model_copy(update={"mixture": mixture})

    @property
    def own_settings(self) -> "ArmSettings":
        """The settings of thoughts, mixture and training of no arm in particular."""
        return ArmSettings(thoughts=self.thoughts, mixture=self.mixture, training=self.training)

    def arm_settings(self, name: str) -> "ArmSettings":
        """The settings of thoughts, mixture and training as this arm has them."""
        values: dict[str, Any] = {
            "thoughts": self.thoughts.model_dump(),
            "mixture": self.mixture.model_dump(),
            "training": self.training.model_dump(),
        }
        for key, value in self.arms[name].overrides.items():
            if key.split(".")[0] in _NOT_FOR_ARMS:
                raise ValueError(f"arms.{name}.overrides.{key}: an arm changes thoughts, mixture or training only")
            if "." not in key:
                raise ValueError(f"arms.{name}.overrides.{key} is a whole section; name single settings below it")
            try:
                set_dotted(values, key, deepcopy(value))
            except UserError as mistake:
                raise ValueError(f"arms.{name}.overrides.{mistake}") from None
        try:
            return ArmSettings.model_validate(values)
        except ValidationError as error:
            raise ValueError(f"arms.{name}.overrides.{first_sentence(error)}") from None


def _place(path: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(path)))


class ArmSettings(Settings):
    """The settings that may differ between arms."""

    thoughts: ThoughtsSpec
    mixture: MixtureSpec
    training: TrainingSpec


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe's file and apply `key=value` overrides.

    Raises:
        UserError: the file is missing or no YAML mapping, an override has no `=`, or a setting breaks its rule.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"recipe {path} holds no settings; it must be a YAML mapping such as `name: demo`")
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise UserError(f"override {override[:100]!r} must have the form key=value, such as training.num_epochs=2")
        set_dotted(values, key.strip(), parse_yaml(value, f"override {key[:100]}"))
    return recipe_from(values)


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """Validate a dictionary of settings; UserError names the first setting that breaks its rule, or holds a secret."""
    settings = plain(values)
    refuse_secrets(settings)
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        raise UserError(first_sentence(error)) from None


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c` in nested dictionaries, making those that are missing; UserError if a step is no mapping."""
    steps = key.split(".")
    for depth, step in enumerate(steps[:-1]):
        inner = values.get(step)
        if inner is None:
            inner = values[step] = {}
        if not isinstance(inner, dict):
            raise UserError(f"{key}: {'.'.join(steps[: depth + 1])} is a single value and has no settings below it")
        values = inner
    values[steps[-1]] = value


def first_sentence(error: ValidationError) -> str:
    """The first problem of a validation as one sentence: setting, value, rule."""
    problems = error.errors()
    # A misspelt key may be why another one is missing.
    problem = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    steps = [str(step) for step in problem["loc"]]
    has_forms = steps[:2] in (["sweep", "space"], ["evaluation", "tasks"])  # an axis, a task: which is no setting
    key = ".".join(steps[:3] + steps[4:] if has_forms else steps)
    rule = problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "extra_forbidden":
            return f"{key} is not a setting; remove it or mend its spelling (see the comments in jobs/recipes)"
        case "missing":
            return f"{key} is missing; the recipe must set it"
        case "value_error":
            return f"{key}: {rule}" if key else rule
        case _:
            shown = repr(problem["input"])
            return f"{key}={shown if len(shown) < 80 else shown[:77] + '...'} is wrong: {rule[0].lower()}{rule[1:]}"
