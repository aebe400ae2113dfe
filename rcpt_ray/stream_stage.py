"""The training stage of an arm with `training.feed: stream`: thoughts are written, blended and trained on in one job.

It takes the places of generate, select and mixture before it, so its fingerprint covers their settings, inputs and
versions; the thoughts land in the folder of the ordinary generate stage, which then finds them all and only writes its
manifest.
"""

import functools
import uuid
from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome
from rcpt_ray.beside_stage import beside_of
from rcpt_ray.corpus.spec import HELDOUT_PARTS, REPLAY_PARTS, TRAIN_PARTS
from rcpt_ray.decontamination import evaluation_digests, evaluation_index
from rcpt_ray.mixture import spec as mixture_spec
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.stage import Built, Stage
from rcpt_ray.terminal import Bar
from rcpt_ray.thought_stages import generate_stage
from rcpt_ray.thoughts.generate import make_generation
from rcpt_ray.thoughts.prompt import load_prompt
from rcpt_ray.thoughts.select_spec import SELECT_VERSION
from rcpt_ray.thoughts.spec import GENERATE_VERSION
from rcpt_ray.training import spec as training_spec


def streaming_stage(
    recipe: Recipe, name: str, arm: ArmSettings, corpus: Built, teacher: ResolvedModel, student: ResolvedModel
) -> Stage:
    """Documents -> thoughts and a model trained on both, at once."""
    spec, generation = arm.training, make_generation(arm.thoughts, recipe.seed, teacher)
    generate = generate_stage(recipe, arm, corpus, teacher)

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.corpus.digest import shard_digest
        from rcpt_ray.mixture.mix import MixtureInput, components_of
        from rcpt_ray.mixture.tokenize import text_tokenizer
        from rcpt_ray.thoughts.gates import words_of
        from rcpt_ray.thoughts.select import make_selection
        from rcpt_ray.training.job import TrainingJob
        from rcpt_ray.training.plan import make_plan
        from rcpt_ray.training.stream.outcome import make_streaming, planned_steps
        from rcpt_ray.training.stream.work import StreamWork

        _connect(recipe, arm)
        bar.note("workers and engines start")
        shards, replay_shards = (
            {shard_digest(shard): shard for shard in corpus.parts(pattern)} for pattern in (TRAIN_PARTS, REPLAY_PARTS)
        )
        roles = {source: own.role for source, own in recipe.corpus.sources.items()}
        given = MixtureInput(
            list((shards | replay_shards).items()),
            [source for source, role in roles.items() if role == "study"],
            [source for source, role in roles.items() if role == "replay"],
        )
        components = components_of(given, arm.mixture, None)
        special = arm.mixture.special_tokens
        tokenizer = text_tokenizer(student.path, arm.mixture, folder / "tokenizer", student.trust_remote_code)
        stream_folder = folder / "stream"
        files = [*shards.values(), *replay_shards.values()]
        num_steps = planned_steps(spec, arm.mixture, arm.thoughts, components, files, stream_folder)
        num_rows = num_steps * spec.global_batch_rows
        plan = make_plan(spec, num_rows, arm.mixture.row_tokens, recipe.seed)
        assert generate.fingerprint is not None
        work = StreamWork(
            generation=generation,
            session=uuid.uuid4().hex,
            thoughts_folder=folder.parent.parent / generate.name / generate.fingerprint,
            folder=stream_folder,
            shards=shards,
            replay_shards=replay_shards,
            components=tuple(components),
            mixture=arm.mixture,
            make_selection=functools.partial(
                make_selection,
                arm.thoughts.select,
                teacher.path,
                words_of(load_prompt(arm.thoughts.prompt).words),
                evaluation_index(recipe),
                teacher.trust_remote_code,
            ),
            tokenizer=tokenizer,
            plan=plan,
            pool_rows=spec.stream.pool_rows,
        )
        job = TrainingJob(
            spec=spec,
            plan=plan,
            num_tokens=num_rows * arm.mixture.row_tokens,
            model_path=student.path,
            mixture_parts=[],
            folder=folder,
            tokenizer_path=str(folder / "tokenizer") if special else student.path,
            special_tokens=tuple(special),
            heldout_parts=corpus.parts(HELDOUT_PARTS),
            provenance=_provenance(recipe, name, arm, corpus, teacher, student),
            beside=beside_of(recipe, corpus),
            trust_remote_code=student.trust_remote_code,
        )
        return make_streaming(job, work, bar)

    settings = {
        "training": spec.defining(),
        "thoughts": arm.thoughts.defining(),
        "select": arm.thoughts.select.defining(),
        "mixture": arm.mixture.defining(),
        "seed": recipe.seed,
        "versions": {"thoughts": GENERATE_VERSION, "select": SELECT_VERSION, "mixture": mixture_spec.STAGE_VERSION},
    }
    if recipe.corpus.decontaminate is not None:
        settings |= {"decontaminate": recipe.corpus.decontaminate.defining()}
    inputs = {**generate.inputs, **evaluation_digests(recipe), "student": student.checksum}
    return Stage(
        "training",
        f"training of {name}",
        training_spec.STAGE_VERSION,
        settings,
        inputs,
        "model/*",
        make,
        variant=name,
    )


def _connect(recipe: Recipe, arm: ArmSettings) -> None:
    """Join or start Ray, with room for the workers and an engine at once; UserError if the cluster has none."""
    spec, pool = arm.training, arm.thoughts.pool
    cluster.connect(recipe.cluster)
    cluster.require(
        "training.feed=stream with training.num_workers workers and an engine at once",
        spec.num_workers * spec.cpus_per_worker + pool.min_engines * pool.cpus_per_engine,
        spec.num_workers * spec.gpus_per_worker + pool.min_engines * pool.gpus_per_engine,
        recipe.cluster,
        spec.machines,
    )


def _provenance(
    recipe: Recipe, name: str, arm: ArmSettings, corpus: Built, teacher: ResolvedModel, student: ResolvedModel
) -> dict[str, object]:
    return {
        "run": recipe.name,
        "arm": name,
        "seed": recipe.seed,
        "student": student.told(),
        "teacher": teacher.told(),
        "corpus": corpus.digest,
        "mixture": {"digest": None, "settings": arm.mixture.defining()},
        "training": arm.training.defining(),
    }
