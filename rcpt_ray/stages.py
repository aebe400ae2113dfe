"""The stages of a recipe: what defines each and which code makes it. The order stands in pipeline.py.

The code of a stage, and what it imports, is loaded when the stage is made.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.beside_stage import beside_of
from rcpt_ray.corpus import spec as corpus_spec
from rcpt_ray.corpus.reading.paths import public_path
from rcpt_ray.corpus.spec import HELDOUT_PARTS, REPLAY_PARTS, TRAIN_PARTS
from rcpt_ray.decontamination import evaluation_digests, evaluation_index
from rcpt_ray.evaluation import spec as evaluation_spec
from rcpt_ray.mixture import spec as mixture_spec
from rcpt_ray.mixture.tokenize import token_counter
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.report import spec as report_spec
from rcpt_ray.spread import Spread
from rcpt_ray.stage import Built, Stage, Together
from rcpt_ray.terminal import Bar
from rcpt_ray.training import spec as training_spec

if TYPE_CHECKING:
    from rcpt_ray.report.inputs import ReportInputs
    from rcpt_ray.training.job import TrainingJob


def corpus_stage(recipe: Recipe, tokenizer: ResolvedModel | None) -> Stage:
    """Files -> shards of documents; passages are measured in the student's tokens."""
    from rcpt_ray.corpus.prepare import input_digests, prepare

    spec = recipe.corpus

    def make(folder: Path, bar: Bar) -> Outcome:
        spread = Spread(spec.num_workers, lambda: cluster.connect(recipe.cluster))
        count_tokens = token_counter(tokenizer.path) if tokenizer else None
        return prepare(spec, recipe.seed, folder, bar, spread, evaluation_index(recipe), count_tokens)

    inputs = input_digests(spec) | evaluation_digests(recipe)
    return Stage(
        name="corpus",
        title="corpus",
        version=corpus_spec.STAGE_VERSION,
        settings=spec.defining() | {"seed": recipe.seed},
        inputs=inputs | ({"tokenizer": tokenizer.checksum} if tokenizer else {}),
        outputs="part-*.parquet",
        make=make,
    )


def mixture_stage(
    recipe: Recipe,
    name: str,
    arm: ArmSettings,
    corpus: Built,
    selected: Built | None,
    paraphrases: Built | None,
    student: ResolvedModel,
    matched: Built | None,
) -> Stage:
    """Documents, thoughts and paraphrases -> packed rows; `matched` is the mixture that gives budget or draws."""
    spec = arm.mixture
    inputs = {"corpus": corpus.digest, "tokenizer": student.checksum}
    inputs |= {"select": selected.digest} if selected else {}
    inputs |= {"paraphrases": paraphrases.digest} if paraphrases else {}
    inputs |= {"matched": matched.digest} if matched else {}

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.corpus.digest import shard_digest
        from rcpt_ray.mixture.mix import Matched, MixtureInput, mix, with_shares_of
        from rcpt_ray.mixture.tokenize import text_tokenizer
        from rcpt_ray.thoughts.parts import parts_by_shard

        roles = {source: own.role for source, own in recipe.corpus.sources.items()}
        given = MixtureInput(
            [
                (shard_digest(shard), shard)
                for pattern in (TRAIN_PARTS, REPLAY_PARTS)
                for shard in corpus.parts(pattern)
            ],
            [source for source, role in roles.items() if role == "study"],
            [source for source, role in roles.items() if role == "replay"],
            parts_by_shard(selected.path) if selected else {},
            parts_by_shard(paraphrases.path) if paraphrases else {},
        )
        budget, wanted = spec.num_tokens, spec
        if matched and spec.match_tokens_of:
            budget, wanted = matched.record.tokens["all"], with_shares_of(matched.record, spec)
        draws = Matched.of(matched.record) if matched and spec.match_documents_of else None
        tokenizer = text_tokenizer(student.path, spec, save_to=folder / "tokenizer")
        spread = Spread(spec.num_workers, lambda: cluster.connect(recipe.cluster))
        return mix(given, wanted, budget, draws, recipe.seed, tokenizer, folder, spread, bar)

    settings = spec.defining() | {"seed": recipe.seed, "matches": None}
    for kind in ("tokens", "documents"):
        if settings.pop(f"match_{kind}_of") is not None:
            settings["matches"] = kind  # what it is called in the recipe defines nothing
    return Stage("mixture", f"mixture of {name}", mixture_spec.STAGE_VERSION, settings, inputs, "part-*.parquet", make)


def training_stage(
    recipe: Recipe, name: str, arm: ArmSettings, corpus: Built, mixture: Built, student: ResolvedModel
) -> Stage:
    """Packed rows -> a trained model; arms with equal workers share one start of them."""
    spec = arm.training

    def make(jobs: Sequence[Callable[[Path], "TrainingJob"]], folders: Sequence[Path], bar: Bar) -> list[Outcome]:
        from rcpt_ray.training.outcome import make_trainings

        cluster.connect(recipe.cluster)
        num_workers = spec.num_workers
        cpus, gpus = num_workers * spec.cpus_per_worker, num_workers * spec.gpus_per_worker
        cluster.require("training.num_workers", cpus, gpus, recipe.cluster)
        bar.note("workers start")
        return make_trainings([job(folder) for job, folder in zip(jobs, folders, strict=True)], bar)

    def job(folder: Path) -> "TrainingJob":
        from rcpt_ray.training.outcome import training_job

        provenance = {
            "run": recipe.name,
            "arm": name,
            "seed": recipe.seed,
            "student": {"reference": student.reference, "revision": student.revision, "checksum": student.checksum},
            "corpus": corpus.digest,
            "sources": {source: public_path(own.path) for source, own in recipe.corpus.sources.items()},
            "mixture": {"digest": mixture.digest, "settings": dict(mixture.record.config)},
            "training": spec.defining(),
        }
        return training_job(
            spec,
            recipe.seed,
            mixture.record,
            mixture.path,
            Path(student.path),
            folder,
            corpus.parts(HELDOUT_PARTS),
            provenance,
            beside_of(recipe, corpus),
        )

    special = arm.mixture.special_tokens
    key = (spec.num_workers, spec.cpus_per_worker, spec.gpus_per_worker, spec.max_failures)
    return Stage(
        "training",
        f"training of {name}",
        training_spec.STAGE_VERSION,
        spec.defining() | {"seed": recipe.seed} | ({"special_tokens": special} if special else {}),
        {"mixture": mixture.digest, "student": student.checksum},
        "model/*",
        lambda folder, bar: make([job], [folder], bar)[0],
        Together(key, job, make),
    )


def evaluation_stage(
    recipe: Recipe,
    name: str,
    corpus: Built,
    model_path: Path | None,
    model_digest: str | None,
    question_digests: Mapping[str, str],
) -> Stage:
    """A model -> scores of questions and held-out documents."""
    spec = recipe.evaluation

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.evaluation.run import EvaluationJob

        assert model_path is not None
        cluster.connect(recipe.cluster)
        cluster.require("evaluation", spec.cpus, spec.gpus, recipe.cluster)
        from rcpt_ray.evaluation.on_ray import evaluate_on_ray

        heldout = corpus.parts(HELDOUT_PARTS)
        return evaluate_on_ray(EvaluationJob(spec, str(model_path), heldout, folder, recipe.seed))

    inputs = {"corpus": corpus.digest, "model": model_digest, **question_digests}
    return Stage(
        "evaluation",
        f"evaluation of {name}",
        evaluation_spec.STAGE_VERSION,
        spec.defining() | {"seed": recipe.seed},
        inputs,
        "scores.parquet",
        make,
    )


def report_stage(recipe: Recipe, built: Mapping[str, Built], inputs: Callable[[], "ReportInputs"]) -> Stage:
    """Everything finished -> report.html, report.md, summary.json."""

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.report.write import write_report

        return write_report(inputs(), folder)

    settings = recipe.report.defining() | {
        "name": recipe.name,
        "arms": [[name, arm.description] for name, arm in recipe.arms.items()],
    }
    digests = {label: one.digest for label, one in built.items()}
    return Stage("report", "report", report_spec.STAGE_VERSION, settings, digests, "report.*", make)
