"""The order of the stages: corpus -> thoughts -> scores -> select -> mixture -> training -> evaluation -> report.

`build` finishes a stage (rcpt run) or only looks it up (rcpt plan); stages that arms share have one fingerprint and
are made once.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from rcpt_ray.evaluation.inputs import check_task
from rcpt_ray.models import ResolvedModel, resolve_model
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.report.gather import gather
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, Built, Stage
from rcpt_ray.stages import corpus_stage, evaluation_stage, mixture_stage, report_stage, training_stage
from rcpt_ray.stream_stage import streaming_stage
from rcpt_ray.thought_stages import generate_stage, scores_stage, select_stage
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.training.trackers import require_packages

STAGES = ("corpus", "thoughts", "mixture", "training", "evaluation", "report")
"""Where a command may stop; `thoughts` holds the stages generate, scores and select."""
Resolve = Callable[[ModelSpec, bool], ResolvedModel]
_FAKE_TEACHER = ResolvedModel(reference="fake engine", path="", revision="none", checksum="fake")


@dataclass(frozen=True)
class ArmStages:
    """One arm's stages as far as they were built."""

    generated: Built | None = None
    scores: Built | None = None
    selected: Built | None = None
    rewritten: Built | None = None
    paraphrases: Built | None = None
    mixture: Built | None = None
    training: Built | None = None
    evaluation: Built | None = None


@dataclass
class Pipeline:
    """All stages of a recipe, by arm."""

    student: ResolvedModel | None = None
    corpus: Built | None = None
    report: Built | None = None
    arms: dict[str, ArmStages] = field(default_factory=dict)
    teachers: dict[str, ResolvedModel] = field(default_factory=dict)


def build_pipeline(recipe: Recipe, build: Builder, until: str = "report", resolve: Resolve | None = None) -> Pipeline:
    """Build the stages up to and including `until`; `resolve` brings a model, or its tokenizer alone, onto the disk.

    Raises:
        UserError: an input or a model is missing; nothing has been made then.
    """
    done, resolve = Pipeline(), resolve or _resolve
    last = STAGES.index(until)
    settings = {name: recipe.arm_settings(name) for name in recipe.arms}
    # Arms that others are matched to come first.
    order = sorted(recipe.arms, key=lambda name: settings[name].mixture.matched_to is not None)
    trained = [name for name in order if recipe.arms[name].train]
    counts_tokens = recipe.corpus.passage_tokens is not None
    corpus_of_recipe = corpus_stage(recipe, resolve(recipe.student, True) if counts_tokens else None)
    judges = dict[str, ResolvedModel]()
    question_digests = _check_questions(recipe) if last >= STAGES.index("evaluation") else {}
    if last >= STAGES.index("thoughts"):
        for name in trained:
            if settings[name].mixture.needs_thoughts or settings[name].mixture.needs_paraphrases:
                thoughts = settings[name].thoughts
                done.teachers[name] = _teacher(thoughts, resolve)
                if thoughts.select.needs_gain:
                    judges[name] = resolve(thoughts.scores.student or recipe.student, False)
    if last >= STAGES.index("training"):
        for name in trained:
            require_packages(settings[name].training.watch)
    if last >= STAGES.index("mixture"):
        done.student = resolve(recipe.student, False)
    corpus = done.corpus = build.one(corpus_of_recipe)
    done.arms = dict.fromkeys(recipe.arms, ArmStages())
    # What streams into a training is written, and its stages are finished, there.
    streams = [name for name in trained if settings[name].training.feed == "stream"]
    streaming = streams if last >= STAGES.index("training") else []
    if last >= STAGES.index("thoughts"):
        for name in trained:
            if name in done.teachers and name not in streaming:
                done.arms[name] = _build_written(
                    recipe, settings[name], corpus, done.teachers[name], judges.get(name), build
                )
    if done.student is None:
        return done
    for name in trained:
        if name in streams:
            continue
        arm, spec = done.arms[name], settings[name].mixture
        matched = done.arms[spec.matched_to] if spec.matched_to else ArmStages()
        written = matched if spec.match_documents_of else arm  # which documents were written about
        mixture = build.one(
            mixture_stage(
                recipe,
                name,
                settings[name],
                corpus,
                written.selected,
                written.paraphrases,
                done.student,
                matched.mixture,
            )
        )
        done.arms[name] = replace(arm, mixture=mixture)
    if last >= STAGES.index("training"):
        trainings = [_training(recipe, name, settings[name], corpus, done) for name in trained]
        for name, training in zip(trained, build.all(trainings), strict=True):
            done.arms[name] = replace(done.arms[name], training=training)
        for name in streaming:
            written = _build_written(recipe, settings[name], corpus, done.teachers[name], None, build)
            done.arms[name] = replace(written, training=done.arms[name].training)
    if last >= STAGES.index("evaluation"):
        for name in recipe.arms:
            arm = done.arms[name]
            model: tuple[Path | None, str | None] = (Path(done.student.path), done.student.checksum)
            if arm.training is not None:
                model = (arm.training.folder and arm.training.folder / "model", arm.training.digest)
            evaluation = build.one(evaluation_stage(recipe, name, corpus, *model, question_digests))
            done.arms[name] = replace(arm, evaluation=evaluation)
    if last >= STAGES.index("report"):
        inputs = {
            f"{name}/{label}": built for name, arm in done.arms.items() for label, built in vars(arm).items() if built
        }
        done.report = build.one(report_stage(recipe, {"corpus": corpus, **inputs}, lambda: gather(recipe, done)))
    return done


def _training(recipe: Recipe, name: str, arm: ArmSettings, corpus: Built, done: Pipeline) -> Stage:
    """The training of an arm, on its packed mixture or on the stream of its thoughts."""
    assert done.student is not None
    if arm.training.feed == "stream":
        return streaming_stage(recipe, name, arm, corpus, done.teachers[name], done.student)
    mixture = done.arms[name].mixture
    assert mixture is not None
    return training_stage(recipe, name, arm, corpus, mixture, done.student)


def _teacher(thoughts: ThoughtsSpec, resolve: Resolve) -> ResolvedModel:
    """The teacher of an arm; behind a server it is what it is called there, beside the tokenizer that we have."""
    match thoughts.engine:
        case "fake":
            return _FAKE_TEACHER
        case "vllm":
            return resolve(thoughts.teacher, False)
        case "http":
            tokenizer = resolve(thoughts.teacher, True)
            served = thoughts.http.model or thoughts.teacher.reference
            checksum = hashlib.sha256(
                f"{tokenizer.checksum} {thoughts.teacher.reference} {served}".encode()
            ).hexdigest()
            return replace(tokenizer, reference=served, checksum=checksum)


def rewriting(arm: ArmSettings) -> ArmSettings:
    """An arm's settings as its paraphrases are written."""
    prompt = {"prompt": arm.mixture.paraphrase_prompt}
    return arm.model_copy(update={"thoughts": arm.thoughts.model_copy(update=prompt)})


def _build_written(
    recipe: Recipe, arm: ArmSettings, corpus: Built, teacher: ResolvedModel, judge: ResolvedModel | None, build: Builder
) -> ArmStages:
    """The stages of what a teacher writes for one arm: thoughts, paraphrases or both."""
    stages = ArmStages()
    if arm.mixture.needs_thoughts:
        stages = _build_thoughts(recipe, arm, corpus, teacher, judge, build)
    if arm.mixture.needs_paraphrases:
        rewritten = _build_thoughts(recipe, rewriting(arm), corpus, teacher, judge, build, "paraphrases")
        stages = replace(stages, rewritten=rewritten.generated, paraphrases=rewritten.selected)
    return stages


def _build_thoughts(
    recipe: Recipe,
    arm: ArmSettings,
    corpus: Built,
    teacher: ResolvedModel,
    judge: ResolvedModel | None,
    build: Builder,
    what: str = "thoughts",
) -> ArmStages:
    """The stages of one arm's thoughts; `judge` is the student whose saved bits are the gain."""
    generated, scores = build.one(generate_stage(recipe, arm, corpus, teacher, what)), None
    if arm.thoughts.select.needs_gain or arm.thoughts.select.needs_critic:
        scores = build.one(scores_stage(recipe, arm, generated, teacher, judge))
    return ArmStages(generated, scores, build.one(select_stage(recipe, arm, generated, teacher, scores, what)))


def _resolve(spec: ModelSpec, tokenizer_only: bool) -> ResolvedModel:
    return resolve_model(spec.reference, revision=spec.revision, tokenizer_only=tokenizer_only)


def _check_questions(recipe: Recipe) -> dict[str, str]:
    """Read every question set once, and return the digests of their files."""
    digests = dict[str, str]()
    for name, task in recipe.evaluation.tasks.items():
        digests |= check_task(name, task)
    return digests
