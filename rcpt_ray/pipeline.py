"""The order of the stages: corpus -> thoughts -> scores -> select -> mixture -> training -> evaluation -> report.

`build` finishes a stage (rcpt run) or only looks it up (rcpt plan); stages that variants share have one fingerprint and
are made once. A stage that fails ends the variants that need it, and the others go on; where none of those that are
trained is left, the first failure is raised.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rcpt_ray.comparison import Variant
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.inputs import check_task
from rcpt_ray.evaluation.models import check_context
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.report.gather import gather
from rcpt_ray.result_stages import evaluation_stage, report_stage
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, Built, Stage, StageError, failure_of
from rcpt_ray.stages import corpus_stage, mixture_stage, training_stage
from rcpt_ray.stream_stage import streaming_stage
from rcpt_ray.training.trackers import require_packages
from rcpt_ray.written import ArmStages, Resolve, Writers, build_heldout, build_written, writers_of

STAGES = ("corpus", "thoughts", "mixture", "training", "evaluation", "report")
"""Where a command may stop; `thoughts` holds the stages generate, scores and select."""


@dataclass
class Pipeline:
    """All stages of a recipe, by variant."""

    student: ResolvedModel | None = None
    corpus: Built | None = None
    heldout: ArmStages = field(default_factory=ArmStages)
    """The stages of thoughts about held-out documents."""
    report: Built | None = None
    variants: dict[str, Variant] = field(default_factory=dict)
    settings: dict[str, ArmSettings] = field(default_factory=dict)
    arms: dict[str, ArmStages] = field(default_factory=dict)
    writers: dict[str, Writers] = field(default_factory=dict)
    failures: dict[str, StageError] = field(default_factory=dict)
    """What ended a variant, in the order in which it happened."""
    heldout_failure: StageError | None = None
    """Why there are no thoughts about held-out documents, where they were asked for."""

    def attempt(self, name: str, work: Callable[[], ArmStages]) -> None:
        """Add to a variant's stages, unless one of them failed before or does now."""
        if name in self.failures:
            return
        try:
            self.arms[name] = work()
        except StageError as error:
            self.failures[name] = error

    def failure(self, name: str) -> str:
        """Why a variant ended, in this command or, where it was only looked up, in the one before; else empty."""
        if name in self.failures:
            return str(self.failures[name])
        for built in vars(self.arms[name]).values():
            if built is not None and built.manifest is None and (reason := failure_of(built.folder)):
                return f"{built.stage.title}: {reason}"
        return ""

    def require_one_of(self, names: Iterable[str]) -> None:
        """StageError, the first one, where all of these have failed."""
        asked = set(names)
        if asked and asked <= self.failures.keys():
            raise next(iter(self.failures.values()))


def build_pipeline(
    recipe: Recipe, build: Builder, until: str = "report", resolve: Resolve | None = None, as_is: bool = False
) -> Pipeline:
    """Build the stages up to and including `until`; with `as_is` the report is of those that are finished.

    Raises:
        UserError: an input or a model is missing; nothing has been made then.
        StageError: the corpus failed, or a stage of every trained variant.
    """
    resolve = functools.cache(resolve or resolve_spec)
    last = STAGES.index(until)
    done = Pipeline(variants=recipe.variants)
    done.settings = {name: recipe.variant_settings(variant) for name, variant in done.variants.items()}
    # Variants that others are matched to come first.
    order = sorted(done.variants, key=lambda name: done.variants[name].matched_to is not None)
    trained = [name for name in order if recipe.arms[done.variants[name].arm].train]
    counts_tokens = recipe.corpus.passage_tokens is not None
    corpus_of_recipe = corpus_stage(recipe, resolve(recipe.student, True) if counts_tokens else None)
    question_digests = _check_questions(recipe) if last >= STAGES.index("evaluation") else {}
    heldout_writers = None
    if last >= STAGES.index("thoughts"):
        for name in trained:
            settings = done.settings[name]
            if settings.mixture.needs_thoughts or settings.mixture.needs_paraphrases:
                done.writers[name] = writers_of(recipe, settings.thoughts, resolve)
        if recipe.evaluation.heldout_thoughts:
            heldout_writers = writers_of(recipe, recipe.thoughts, resolve)
    if last >= STAGES.index("training"):
        for name in trained:
            require_packages(done.settings[name].training.watch)
    if last >= STAGES.index("mixture"):
        done.student = resolve(recipe.student, False)
    if done.student is not None and last >= STAGES.index("evaluation"):
        check_context(recipe.evaluation, done.student.path)
    done.corpus = build.one(corpus_of_recipe)
    if as_is and done.corpus.manifest is None:
        raise UserError(f"nothing is finished in {recipe.run} for this recipe, so there is nothing to report; run it")
    done.arms = dict.fromkeys(done.variants, ArmStages())
    # What streams into a training is written, and its stages are finished, there.
    streams = [name for name in trained if done.settings[name].training.feed == "stream"]
    streaming = streams if last >= STAGES.index("training") else []
    if last >= STAGES.index("thoughts"):
        _build_thoughts(recipe, [name for name in trained if name not in streaming], done, build)
        done.require_one_of(trained)
    if done.student is None:
        return done
    for name in trained:
        if name not in streams:
            done.attempt(name, functools.partial(_with_mixture, recipe, name, done, build))
    done.require_one_of(trained)
    if last >= STAGES.index("training"):
        _build_trainings(recipe, trained, done, build)
        _build_thoughts(recipe, streaming, done, build)
        done.require_one_of(trained)
    if last >= STAGES.index("evaluation"):
        _build_evaluations(recipe, heldout_writers, question_digests, done, build)
        done.require_one_of(done.variants)
    if last >= STAGES.index("report"):
        done.report = build.one(_report(recipe, done, as_is))
    return done


def _build_thoughts(recipe: Recipe, names: Iterable[str], done: Pipeline, build: Builder) -> None:
    def written(name: str) -> ArmStages:
        assert done.corpus is not None
        stages = build_written(recipe, done.settings[name], done.corpus, done.writers[name], build)
        return replace(stages, training=done.arms[name].training)

    for name in names:
        if name in done.writers:
            done.attempt(name, functools.partial(written, name))


def _with_mixture(recipe: Recipe, name: str, done: Pipeline, build: Builder) -> ArmStages:
    """A variant's stages with its mixture; StageError where that, or the one it is matched to, failed."""
    assert done.corpus is not None and done.student is not None
    arm, settings, variant = done.arms[name], done.settings[name], done.variants[name]
    matched = ArmStages()
    if variant.matched_to is not None:
        if variant.matched_to in done.failures:
            raise done.failures[variant.matched_to]
        matched = done.arms[variant.matched_to]
    written = matched if settings.mixture.match_documents_of else arm  # which documents were written about
    stage = mixture_stage(
        recipe,
        variant,
        settings,
        done.corpus,
        written.selected,
        written.paraphrases,
        done.student,
        matched.mixture,
    )
    return replace(arm, mixture=build.one(stage))


def _build_trainings(recipe: Recipe, trained: Iterable[str], done: Pipeline, build: Builder) -> None:
    """All trainings that can be made, at once."""
    names = [name for name in trained if name not in done.failures]
    stages = [_training(recipe, name, done) for name in names]
    for name, training in zip(names, build.all(stages), strict=True):
        if isinstance(training, StageError):
            done.failures[name] = training
        else:
            done.arms[name] = replace(done.arms[name], training=training)


def _training(recipe: Recipe, name: str, done: Pipeline) -> Stage:
    """The training of a variant, on its packed mixture or on the stream of its thoughts."""
    assert done.corpus is not None and done.student is not None
    settings = done.settings[name]
    if settings.training.feed == "stream":
        return streaming_stage(recipe, name, settings, done.corpus, done.writers[name].teacher, done.student)
    mixture = done.arms[name].mixture
    assert mixture is not None
    return training_stage(recipe, done.variants[name], settings, done.corpus, mixture, done.student)


def _build_evaluations(
    recipe: Recipe, heldout_writers: Writers | None, question_digests: dict[str, str], done: Pipeline, build: Builder
) -> None:
    """The held-out thoughts where they are asked for, then the measures of each variant that has a model."""
    corpus, student = done.corpus, done.student
    assert corpus is not None and student is not None
    if heldout_writers is not None:
        try:
            done.heldout = build_heldout(recipe, corpus, heldout_writers, build)
        except StageError as error:
            done.heldout_failure = error  # everything else is measured

    def evaluated(name: str) -> ArmStages:
        arm = done.arms[name]
        model: tuple[Path | None, str | None] = (Path(student.path), student.checksum)
        if arm.training is not None:
            model = (arm.training.folder and arm.training.folder / "model", arm.training.digest)
        stage = evaluation_stage(
            recipe, name, done.settings[name], corpus, *model, question_digests, done.heldout.selected
        )
        return replace(arm, evaluation=build.one(stage))

    for name in done.variants:
        done.attempt(name, functools.partial(evaluated, name))


def _report(recipe: Recipe, done: Pipeline, as_is: bool) -> Stage:
    """The report of what is there: not of a stage that failed, nor, as it is, of one that is not finished."""
    labelled = {
        f"{name}/{label}": built for name, arm in done.arms.items() for label, built in vars(arm).items() if built
    }
    inputs = {label: built for label, built in labelled.items() if built.manifest is not None or not as_is}
    assert done.corpus is not None
    failures = {name: reason for name in done.arms if (reason := done.failure(name))}
    return report_stage(recipe, {"corpus": done.corpus, **inputs}, failures, lambda: gather(recipe, done))


def resolve_spec(spec: ModelSpec, tokenizer_only: bool) -> ResolvedModel:
    """The model of a recipe, without a word on the terminal."""
    return resolve_model(
        spec.reference,
        revision=spec.revision,
        tokenizer_only=tokenizer_only,
        trust_remote_code=spec.trust_remote_code,
    )


def _check_questions(recipe: Recipe) -> dict[str, str]:
    """Read every question set once, and return the digests of their files."""
    digests = dict[str, str]()
    for name, task in recipe.evaluation.tasks.items():
        digests |= check_task(name, task)
    return digests
