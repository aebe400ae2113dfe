"""The stages that measure models and tell of it: evaluation and report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.corpus.spec import HELDOUT_PARTS
from rcpt_ray.evaluation import spec as evaluation_spec
from rcpt_ray.mixture.layout import delimiters_of
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.report import spec as report_spec
from rcpt_ray.report.public import public_recipe, public_words
from rcpt_ray.stage import Built, Stage
from rcpt_ray.terminal import Bar

if TYPE_CHECKING:
    from rcpt_ray.report.inputs import ReportInputs


def evaluation_stage(
    recipe: Recipe,
    name: str,
    arm: ArmSettings,
    corpus: Built,
    model_path: Path | None,
    model_digest: str | None,
    question_digests: Mapping[str, str],
    thoughts: Built | None,
) -> Stage:
    """A model -> scores of questions and held-out documents; `thoughts` are those of held-out documents."""
    spec = recipe.evaluation
    opening, closing = delimiters_of(arm.mixture)

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.evaluation.job import EvaluationJob

        assert model_path is not None
        cluster.connect(recipe.cluster)
        from rcpt_ray.evaluation.on_ray import evaluate_on_ray, require_room

        require_room(spec, recipe.cluster)
        job = EvaluationJob(
            spec=spec,
            model_path=str(model_path),
            heldout_parts=corpus.parts(HELDOUT_PARTS),
            folder=folder,
            seed=recipe.seed,
            trust_remote_code=recipe.student.trust_remote_code,
            thought_open=opening,
            thought_close=closing,
            thought_parts=thoughts.parts("part-*.parquet") if thoughts else [],
        )
        return evaluate_on_ray(job)

    settings = spec.defining() | {"seed": recipe.seed}
    if spec.heldout_thoughts or any(task.kind in ("generated", "gsm8k") for task in spec.tasks.values()):
        settings |= {"opening": opening, "closing": closing}
    inputs = {"corpus": corpus.digest, "model": model_digest, **question_digests}
    return Stage(
        "evaluation",
        f"evaluation of {name}",
        evaluation_spec.STAGE_VERSION,
        settings,
        inputs | ({"thoughts": thoughts.digest} if thoughts else {}),
        "*.parquet",
        make,
        variant=name,
    )


def report_stage(
    recipe: Recipe, built: Mapping[str, Built], failures: Mapping[str, str], inputs: Callable[[], "ReportInputs"]
) -> Stage:
    """Everything finished -> report.html, report.md, summary.json; `failures` are sentences by variant."""

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.report.write import write_report

        return write_report(inputs(), folder)

    # The page shows the whole recipe; where it ran, and what is swept, is no part of it.
    settings: dict[str, object] = {
        "recipe": public_recipe(recipe.model_dump(mode="json", exclude={"cluster", "sweep"}))
    }
    if failures:
        settings |= {"failures": {name: public_words(words, recipe.run) for name, words in failures.items()}}
    digests = {label: one.digest for label, one in built.items()}
    return Stage("report", "report", report_spec.STAGE_VERSION, settings, digests, "report.*", make)
