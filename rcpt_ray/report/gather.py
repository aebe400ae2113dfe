"""Gather what a report shows from the folders of finished stages; what is not finished is not there."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.recipe import Recipe
from rcpt_ray.records import SCORE
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Built

if TYPE_CHECKING:
    from rcpt_ray.artifacts import Manifest
    from rcpt_ray.models import ResolvedModel
    from rcpt_ray.pipeline import Pipeline


def gather(recipe: Recipe, done: "Pipeline") -> ReportInputs:
    """The inputs of the report of a pipeline, by variant; the thoughts are those of the first one that has some."""
    assert done.corpus is not None and done.student is not None
    with_thoughts = next((arm for arm in done.arms.values() if _manifest(arm.selected) is not None), None)
    kept = _kept_thoughts(with_thoughts.selected) if with_thoughts and with_thoughts.selected else []
    shown = sorted(kept, key=lambda row: unit_hash("example", recipe.seed, row["doc_id"]))[: recipe.report.num_examples]
    teachers = {recipe.thoughts.engine + own.teacher.checksum: own.teacher for own in done.writers.values()}
    return ReportInputs(
        recipe=recipe,
        student=_in_words(recipe.student, done.student),
        teacher="; ".join(_in_words(recipe.thoughts.teacher, teacher) for teacher in teachers.values()) or "none",
        corpus=done.corpus.record,
        thoughts=_manifest(with_thoughts.generated) if with_thoughts else None,
        select=_manifest(with_thoughts.selected) if with_thoughts else None,
        thought_tokens=[int(row["num_thought_tokens"]) for row in kept],
        examples=list(shown),
        arms=[_arm_result(recipe, name, done) for name in done.arms],
    )


def _arm_result(recipe: Recipe, name: str, done: "Pipeline") -> ArmResult:
    arm, variant = done.arms[name], done.variants[name]
    scores = _table(arm.evaluation, "scores.parquet")
    timeline = _table(arm.training, "timeline.parquet")
    written = [arm.generated, arm.selected, arm.rewritten, arm.paraphrases]
    if _manifest(arm.evaluation) is not None:
        written += [done.heldout.generated, done.heldout.selected]
    return ArmResult(
        name=name,
        description=recipe.arms[variant.arm].description,
        evaluation=_manifest(arm.evaluation),
        scores=SCORE.empty_table() if scores is None else scores,
        arm=variant.arm,
        training_domain=variant.training_domain,
        seed=variant.seed,
        answers=_table(arm.evaluation, "answers.parquet"),
        evaluated=_table(arm.training, "evaluated.parquet"),
        failure=done.failure(name),
        mixture=_manifest(arm.mixture if timeline is None else arm.training),
        training=_manifest(arm.training),
        steps=_table(arm.training, "steps.parquet"),
        heldout=_table(arm.training, "heldout.parquet"),
        timeline=timeline,
        written=[manifest for stage in written if (manifest := _manifest(stage)) is not None],
    )


def _manifest(built: Built | None) -> "Manifest | None":
    return None if built is None else built.manifest


def _table(built: Built | None, name: str) -> pa.Table | None:
    """A table that a finished stage left, None where there is none."""
    if built is None or built.manifest is None:
        return None
    file = built.path / name
    return pq.read_table(file) if file.exists() else None


def _kept_thoughts(selected: Built) -> list[dict[str, Any]]:
    tables = [pq.read_table(part) for part in selected.parts("part-*.parquet")]
    return [row for row in pa.concat_tables(tables).to_pylist() if row["status"] == "ok"] if tables else []


def _in_words(spec: ModelSpec, model: "ResolvedModel") -> str:
    tuned = "instruction-tuned" if spec.instruction_tuned else "not instruction-tuned"
    own_code = ", runs code of its author" if model.trust_remote_code else ""
    return f"{model.reference} ({model.revision}, {tuned}{own_code})"
