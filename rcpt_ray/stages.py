"""The stages that make models: what defines each and which code makes it. The order stands in pipeline.py.

The code of a stage, and what it imports, is loaded when the stage is made.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.beside_stage import beside_of
from rcpt_ray.comparison import Variant
from rcpt_ray.corpus import spec as corpus_spec
from rcpt_ray.corpus.reading.paths import public_path
from rcpt_ray.corpus.spec import HELDOUT_PARTS, REPLAY_PARTS, TRAIN_PARTS
from rcpt_ray.decontamination import evaluation_digests, evaluation_index
from rcpt_ray.mixture import spec as mixture_spec
from rcpt_ray.mixture.tokenize import token_counter
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.spread import spread_on
from rcpt_ray.stage import Built, Stage, Together
from rcpt_ray.terminal import Bar
from rcpt_ray.training import spec as training_spec

if TYPE_CHECKING:
    from rcpt_ray.training.job import TrainingJob


def corpus_stage(recipe: Recipe, tokenizer: ResolvedModel | None) -> Stage:
    """Files -> shards of documents; passages are measured in the student's tokens."""
    from rcpt_ray.corpus.prepare import input_digests, prepare

    spec = recipe.corpus

    def make(folder: Path, bar: Bar) -> Outcome:
        spread = spread_on(recipe.cluster, spec.num_workers)
        count_tokens = token_counter(tokenizer.path, tokenizer.trust_remote_code) if tokenizer else None
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
    variant: Variant,
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
            list(variant.sources or [source for source, role in roles.items() if role == "study"]),
            [source for source, role in roles.items() if role == "replay"],
            parts_by_shard(selected.path) if selected else {},
            parts_by_shard(paraphrases.path) if paraphrases else {},
        )
        budget, wanted = spec.num_tokens, spec
        if matched and spec.match_tokens_of:
            budget, wanted = matched.record.tokens["all"], with_shares_of(matched.record, spec)
        draws = Matched.of(matched.record) if matched and spec.match_documents_of else None
        tokenizer = text_tokenizer(student.path, spec, folder / "tokenizer", student.trust_remote_code)
        spread = spread_on(recipe.cluster, spec.num_workers)
        return mix(given, wanted, budget, draws, variant.seed, tokenizer, folder, spread, bar)

    settings = spec.defining() | {"seed": variant.seed, "matches": None}
    settings |= {"sources": sorted(variant.sources)} if variant.sources else {}
    for kind in ("tokens", "documents"):
        if settings.pop(f"match_{kind}_of") is not None:
            settings["matches"] = kind  # what it is called in the recipe defines nothing
    return Stage(
        "mixture",
        f"mixture of {variant.name}",
        mixture_spec.STAGE_VERSION,
        settings,
        inputs,
        "part-*.parquet",
        make,
        variant=variant.name,
    )


def training_stage(
    recipe: Recipe, variant: Variant, arm: ArmSettings, corpus: Built, mixture: Built, student: ResolvedModel
) -> Stage:
    """Packed rows -> a trained model; variants with equal workers share one start of them."""
    spec = arm.training

    def make(
        jobs: Sequence[Callable[[Path], "TrainingJob"]], folders: Sequence[Path], bar: Bar
    ) -> list[Outcome | Exception]:
        from rcpt_ray.training.in_turn import make_in_turn

        cluster.connect(recipe.cluster)
        num_workers = spec.num_workers
        cpus, gpus = num_workers * spec.cpus_per_worker, num_workers * spec.gpus_per_worker
        cluster.require("training.num_workers", cpus, gpus, recipe.cluster, spec.machines)
        bar.note("workers start")
        return make_in_turn([functools.partial(job, folder) for job, folder in zip(jobs, folders, strict=True)], bar)

    def make_alone(folder: Path, bar: Bar) -> Outcome:
        (outcome,) = make([job], [folder], bar)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def job(folder: Path) -> "TrainingJob":
        from rcpt_ray.training.outcome import training_job

        provenance = {
            "run": recipe.name,
            "arm": variant.name,
            "seed": variant.seed,
            "student": student.told(),
            "corpus": corpus.digest,
            "sources": {source: public_path(own.path) for source, own in recipe.corpus.sources.items()},
            "mixture": {"digest": mixture.digest, "settings": dict(mixture.record.config)},
            "training": spec.defining(),
        }
        return training_job(
            spec,
            variant.seed,
            mixture.record,
            mixture.path,
            Path(student.path),
            folder,
            corpus.parts(HELDOUT_PARTS),
            provenance,
            beside_of(recipe, corpus),
            student.trust_remote_code,
        )

    special = arm.mixture.special_tokens
    key = (spec.num_workers, spec.cpus_per_worker, spec.gpus_per_worker, spec.machines, spec.max_failures)
    return Stage(
        "training",
        f"training of {variant.name}",
        training_spec.STAGE_VERSION,
        spec.defining() | {"seed": variant.seed} | ({"special_tokens": special} if special else {}),
        {"mixture": mixture.digest, "student": student.checksum},
        "model/*",
        make_alone,
        Together(key, job, make),
        variant.name,
    )
