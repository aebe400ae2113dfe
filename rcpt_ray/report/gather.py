"""Gather what a report shows from the folders of finished stages."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.recipe import Recipe
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.settings import ModelSpec
from rcpt_ray.stage import Built

if TYPE_CHECKING:
    from rcpt_ray.models import ResolvedModel
    from rcpt_ray.pipeline import Pipeline


def gather(recipe: Recipe, done: "Pipeline") -> ReportInputs:
    """The inputs of the report of a finished pipeline; the thoughts are those of the first arm that has some."""
    assert done.corpus is not None and done.student is not None
    with_thoughts = next((arm for arm in done.arms.values() if arm.selected is not None), None)
    kept = _kept_thoughts(with_thoughts.selected) if with_thoughts and with_thoughts.selected else []
    shown = sorted(kept, key=lambda row: unit_hash("example", recipe.seed, row["doc_id"]))[: recipe.report.num_examples]
    teachers = {recipe.thoughts.engine + teacher.checksum: teacher for teacher in done.teachers.values()}
    arms = []
    for name, arm in done.arms.items():
        assert arm.evaluation is not None
        streams = arm.training is not None and (arm.training.path / "timeline.parquet").exists()
        mixture = arm.training if streams else arm.mixture
        arms.append(
            ArmResult(
                name=name,
                description=recipe.arms[name].description,
                evaluation=arm.evaluation.record,
                scores=pq.read_table(arm.evaluation.path / "scores.parquet"),
                mixture=mixture.record if mixture else None,
                training=arm.training.record if arm.training else None,
                steps=pq.read_table(arm.training.path / "steps.parquet") if arm.training else None,
                heldout=_heldout(arm.training),
                timeline=pq.read_table(arm.training.path / "timeline.parquet") if arm.training and streams else None,
                written=[
                    stage.record
                    for stage in (arm.generated, arm.selected, arm.rewritten, arm.paraphrases)
                    if stage is not None
                ],
            )
        )
    return ReportInputs(
        recipe=recipe,
        student=_in_words(recipe.student, done.student),
        teacher="; ".join(_in_words(recipe.thoughts.teacher, teacher) for teacher in teachers.values()) or "none",
        corpus=done.corpus.record,
        thoughts=with_thoughts.generated.record if with_thoughts and with_thoughts.generated else None,
        select=with_thoughts.selected.record if with_thoughts and with_thoughts.selected else None,
        thought_tokens=[int(row["num_thought_tokens"]) for row in kept],
        examples=list(shown),
        arms=arms,
    )


def _kept_thoughts(selected: Built) -> list[dict[str, Any]]:
    tables = [pq.read_table(part) for part in selected.parts("part-*.parquet")]
    return [row for row in pa.concat_tables(tables).to_pylist() if row["status"] == "ok"] if tables else []


def _heldout(training: Built | None) -> pa.Table | None:
    file = training.path / "heldout.parquet" if training else None
    return pq.read_table(file) if file is not None and file.exists() else None


def _in_words(spec: ModelSpec, model: "ResolvedModel") -> str:
    tuned = "instruction-tuned" if spec.instruction_tuned else "not instruction-tuned"
    return f"{model.reference} ({model.revision}, {tuned})"
