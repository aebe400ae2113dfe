"""What a teacher writes: thoughts, paraphrases or both, for an arm's documents or for those held out."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from rcpt_ray.corpus.spec import HELDOUT_PARTS, TRAIN_PARTS
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Builder, Built
from rcpt_ray.thought_stages import generate_stage, scores_stage, select_stage
from rcpt_ray.thoughts.spec import ThoughtsSpec

Resolve = Callable[[ModelSpec, bool], ResolvedModel]
"""Brings a model, or its tokenizer alone, onto the disk."""
_FAKE_TEACHER = ResolvedModel(reference="fake engine", path="", revision="none", checksum="fake")


@dataclass(frozen=True)
class ArmStages:
    """One variant's stages as far as they were built."""

    generated: Built | None = None
    scores: Built | None = None
    selected: Built | None = None
    rewritten: Built | None = None
    paraphrases: Built | None = None
    mixture: Built | None = None
    training: Built | None = None
    evaluation: Built | None = None


@dataclass(frozen=True)
class Writers:
    """The models that thoughts need."""

    teacher: ResolvedModel
    judge: ResolvedModel | None
    """The student whose saved bits are the gain, where thoughts are selected by it."""


def writers_of(recipe: Recipe, thoughts: ThoughtsSpec, resolve: Resolve) -> Writers:
    """The teacher and, where it is needed, the judge; UserError if one of them is not to be had."""
    needs_judge = thoughts.select.needs_gain
    judge = resolve(thoughts.scores.student or recipe.student, False) if needs_judge else None
    return Writers(_teacher(thoughts, resolve), judge)


def rewriting(arm: ArmSettings) -> ArmSettings:
    """An arm's settings as its paraphrases are written."""
    prompt = {"prompt": arm.mixture.paraphrase_prompt}
    return arm.model_copy(update={"thoughts": arm.thoughts.model_copy(update=prompt)})


def build_written(recipe: Recipe, arm: ArmSettings, corpus: Built, writers: Writers, build: Builder) -> ArmStages:
    """The stages of what is written for the documents that one arm is trained on.

    Raises:
        StageError: one of them failed.
    """
    stages = ArmStages()
    if arm.mixture.needs_thoughts:
        stages = _build_thoughts(recipe, arm, corpus, writers, build, "thoughts", TRAIN_PARTS)
    if arm.mixture.needs_paraphrases:
        rewritten = _build_thoughts(recipe, rewriting(arm), corpus, writers, build, "paraphrases", TRAIN_PARTS)
        stages = replace(stages, rewritten=rewritten.generated, paraphrases=rewritten.selected)
    return stages


def build_heldout(recipe: Recipe, corpus: Built, writers: Writers, build: Builder) -> ArmStages:
    """The stages of thoughts about the held-out documents, by the recipe's own settings; nothing is trained on them.

    Raises:
        StageError: one of them failed.
    """
    arm = recipe.own_settings
    return _build_thoughts(recipe, arm, corpus, writers, build, "held-out thoughts", HELDOUT_PARTS)


def _build_thoughts(
    recipe: Recipe, arm: ArmSettings, corpus: Built, writers: Writers, build: Builder, what: str, documents: str
) -> ArmStages:
    teacher, select = writers.teacher, arm.thoughts.select
    generated, scores = build.one(generate_stage(recipe, arm, corpus, teacher, what, documents)), None
    if select.needs_gain or select.needs_critic:
        scores = build.one(scores_stage(recipe, arm, generated, teacher, writers.judge, what))
    return ArmStages(generated, scores, build.one(select_stage(recipe, arm, generated, teacher, scores, what)))


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
