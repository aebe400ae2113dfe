"""The stages of thoughts: generate, which pays for tokens; scores, where they are wanted; select, which is free."""

from pathlib import Path

from rcpt_ray import cluster
from rcpt_ray.artifacts import Outcome, fingerprint
from rcpt_ray.corpus.spec import TRAIN_PARTS
from rcpt_ray.decontamination import evaluation_digests, evaluation_index
from rcpt_ray.models import ResolvedModel
from rcpt_ray.recipe import ArmSettings, Recipe
from rcpt_ray.spread import side_by_side, spread_on
from rcpt_ray.stage import Built, Stage
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts import spec as thoughts_spec
from rcpt_ray.thoughts.generate import make_generation
from rcpt_ray.thoughts.prompt import load_critic, load_prompt
from rcpt_ray.thoughts.scores_spec import SCORES_VERSION
from rcpt_ray.thoughts.select_spec import SELECT_VERSION
from rcpt_ray.thoughts.spec import ThoughtsSpec


def generate_stage(
    recipe: Recipe,
    arm: ArmSettings,
    corpus: Built,
    teacher: ResolvedModel,
    what: str = "thoughts",
    documents: str = TRAIN_PARTS,
) -> Stage:
    """Shards of documents -> parts of thoughts (or paraphrases); `documents` says which parts of the corpus."""
    spec = arm.thoughts
    generation = make_generation(spec, recipe.seed, teacher)

    def make(folder: Path, bar: Bar) -> Outcome:
        import pyarrow.parquet as pq

        from rcpt_ray.thoughts.outcome import make_thoughts

        shards = corpus.parts(documents)
        return make_thoughts(
            generation,
            shards,
            sum(side_by_side(lambda shard: pq.read_metadata(shard).num_rows, shards)),
            folder,
            lambda: connect_for_thoughts(recipe, spec),
            bar,
        )

    inputs = {"corpus": corpus.digest, "teacher": teacher.checksum, "prompt": generation.prompt_digest}
    of = {} if documents == TRAIN_PARTS else {"documents": documents}
    return Stage(
        "thoughts",
        f"{what} by {teacher.reference}",
        thoughts_spec.GENERATE_VERSION,
        spec.defining() | {"seed": recipe.seed} | of,
        inputs,
        "part-*.parquet",
        make,
    )


def scores_stage(
    recipe: Recipe,
    arm: ArmSettings,
    generated: Built,
    teacher: ResolvedModel,
    student: ResolvedModel | None,
    what: str = "thoughts",
) -> Stage:
    """Parts of thoughts -> gain and critic's score, as far as select needs them; the student is for the gain."""
    spec, select = arm.thoughts, arm.thoughts.select
    kinds = {"gain_bits": select.needs_gain, "critic": select.needs_critic}
    settings = spec.scores.defining() | {"kinds": [kind for kind, is_needed in kinds.items() if is_needed]}
    settings |= {"opening": arm.mixture.thought_open, "closing": arm.mixture.thought_close} if select.needs_gain else {}
    made_by: dict[str, str] = {}
    if student is not None:
        made_by["student"] = student.checksum
    if select.needs_critic:
        made_by |= {"teacher": teacher.checksum, "critic": load_critic(spec.scores.critic).digest}

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.thoughts.scorers import Delimiters
        from rcpt_ray.thoughts.scores import Scoring, make_scores

        scoring = Scoring(
            spec=spec,
            seed=recipe.seed,
            key=fingerprint("scores", SCORES_VERSION, settings, made_by),
            student_path=student.path if student else "",
            teacher_path=teacher.path,
            delimiters=Delimiters(arm.mixture.thought_open, arm.mixture.thought_close),
            kinds=tuple(settings["kinds"]),
            student_runs_code=student is not None and student.trust_remote_code,
        )
        parts = generated.parts("part-*.parquet")
        return make_scores(scoring, parts, folder, lambda: connect_for_thoughts(recipe, spec), bar)

    inputs = {"thoughts": generated.digest} | made_by
    return Stage("scores", f"scores of {what}", SCORES_VERSION, settings, inputs, "part-*.parquet", make)


def select_stage(
    recipe: Recipe,
    arm: ArmSettings,
    generated: Built,
    teacher: ResolvedModel,
    scores: Built | None,
    what: str = "thoughts",
) -> Stage:
    """Parts of thoughts and their scores -> the thoughts that are used."""
    spec, prompt = arm.thoughts.select, load_prompt(arm.thoughts.prompt)

    def make(folder: Path, bar: Bar) -> Outcome:
        from rcpt_ray.thoughts.gates import words_of
        from rcpt_ray.thoughts.select import make_selection, select

        parts = generated.parts("part-*.parquet")
        bar.total(len(parts))
        selection = make_selection(
            spec, teacher.path, words_of(prompt.words), evaluation_index(recipe), teacher.trust_remote_code
        )
        spread = spread_on(recipe.cluster, spec.num_workers)
        return select(parts, selection, folder, scores.path if scores else None, spread, bar)

    settings, inputs = spec.defining(), {"thoughts": generated.digest} | evaluation_digests(recipe)
    if recipe.corpus.decontaminate is not None:
        settings |= {"decontaminate": recipe.corpus.decontaminate.defining()}
    return Stage(
        "select",
        f"selected {what}",
        SELECT_VERSION,
        settings,
        inputs | ({"scores": scores.digest} if scores else {}),
        "part-*.parquet",
        make,
    )


def connect_for_thoughts(recipe: Recipe, spec: ThoughtsSpec) -> None:
    """Join or start Ray, with room for an engine; UserError if the cluster has none."""
    cluster.connect(recipe.cluster)
    pool = spec.pool
    cluster.require("thoughts.pool", pool.cpus_per_engine, pool.gpus_per_engine, recipe.cluster, pool.machines)
