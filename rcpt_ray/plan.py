"""`rcpt plan`: what would run, what is finished, and the tokens and time expected. Arithmetic; starts nothing.

A stage's time is tokens / speed. The speed is the one measured in this run folder where the stage was made before, else
the one that the recipe expects (`expected_tokens_per_s`), else operations / (assumed rate of the hardware): 2 P
operations a token generated or scored and 6 P a token trained, for a model of P parameters (Kaplan et al., arXiv
2001.08361, section 2.1); adapters spare the 2 P of the weights' gradients, gradient checkpointing adds the 2 P of
another forward pass.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rcpt_ray.artifacts import Manifest, read_manifest, read_run_recipe, run_path
from rcpt_ray.corpus.reading.pieces import expected_size
from rcpt_ray.evaluation.models import engines_used
from rcpt_ray.models import ResolvedModel
from rcpt_ray.pipeline import Pipeline, build_pipeline
from rcpt_ray.plan_tables import Expectation, largest_of_arms, print_stages, print_totals
from rcpt_ray.plan_training import TrainingToDo, print_trainings
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Builder, Built, Stage, look_up
from rcpt_ray.terminal import table_console
from rcpt_ray.thoughts.progress import Prices
from rcpt_ray.training.model_shape import read_model_shape

_BYTES_PER_TOKEN = 4.5
_TOKENS_PER_WORD = 1.35
_PROMPT_TOKENS = 200
_FILLED = 0.8
"""Share of corpus.passage_tokens that a passage has on average."""
_CPU_OPERATIONS_PER_S = 40e9
_GPU_OPERATIONS_PER_S = 150e12


def print_plan(recipe: Recipe, num_sample: int | None = None) -> None:
    """Print the stages and their totals, after measuring on `num_sample` thoughts.

    A line a stage, or a line for each arm's stages of a kind where a comparison makes several variants of it.

    Raises:
        UserError: an input or a model is missing.
    """
    run, stages = run_path(recipe.run), list[Built]()
    if (run / "recipe.json").exists():
        read_run_recipe(run)

    def look(wanted: Sequence[Stage]) -> list[Built]:
        built = [look_up(stage, run) for stage in wanted]
        stages.extend(built)
        return built

    done = build_pipeline(recipe, Builder(look))
    to_do = [built for built in stages if built.manifest is None]
    expected = {built.stage.title: expect(built.stage, recipe, done, run) for built in to_do}
    trainings = [
        _training_to_do(built.stage, done, expected[built.stage.title])
        for built in to_do
        if built.stage.name == "training"
    ]
    console = table_console()
    print_stages(recipe, done, stages, expected, console)
    if trainings:
        print_trainings(largest_of_arms(trainings, done), recipe, done.student, console)
    print_totals(to_do, expected, console)
    if num_sample is not None:
        from rcpt_ray.sample import print_samples

        print_samples(recipe, done, num_sample, _corpus_size(recipe, done)[0])


def expect(stage: Stage, recipe: Recipe, done: Pipeline, run: Path) -> Expectation:
    """What a stage that is not finished will take."""
    num_documents, text_tokens = _corpus_size(recipe, done)
    thoughts = recipe.thoughts
    words = min(thoughts.asked_words * _TOKENS_PER_WORD, thoughts.sampling.max_thought_tokens)
    match stage.name:
        case "thoughts":
            if "documents" in stage.settings:  # those held out
                of_training = 1 - recipe.corpus.heldout_share
                num_documents, text_tokens = (
                    size * recipe.corpus.heldout_share / of_training for size in (num_documents, text_tokens)
                )
            thought_tokens = num_documents * thoughts.sampling.num_samples * words
            teacher = next((writers.teacher for writers in done.writers.values()), None)
            read = num_documents * _PROMPT_TOKENS + text_tokens
            pool, prices = thoughts.pool, Prices.of(thoughts)
            devices = pool.max_engines, pool.cpus_per_engine, pool.gpus_per_engine
            speed = pool.expected_tokens_per_s
            expected = _expectation(thought_tokens, 2 * (read + thought_tokens), teacher, devices, speed, stage, run)
            hours = None if expected.seconds is None else pool.max_engines * expected.seconds / 3600
            cost = prices.cost(hours or 0.0, read, thought_tokens) if hours is not None else None
            return replace(expected, cost=cost)
        case "training":
            spec = done.settings[stage.variant].training
            per_document = thoughts.sampling.num_samples * words
            tokens = spec.num_epochs * _mixture_tokens(recipe, done, stage.variant, per_document)
            devices = spec.num_workers, float(spec.cpus_per_worker), float(spec.gpus_per_worker)
            operations = (4 if spec.adapter else 6) + (2 if spec.gradient_checkpointing else 0)
            speed = spec.expected_tokens_per_s
            expected = _expectation(tokens, operations * tokens, done.student, devices, speed, stage, run)
            return replace(expected, cost=_cost(expected.seconds, spec.num_workers, spec.price_per_worker_hour))
        case _:
            seconds = _measured_seconds(stage, run)
            cost = None
            if stage.name == "evaluation":
                pool = recipe.evaluation.pool
                num_engines = pool.max_engines if "vllm" in engines_used(recipe.evaluation) else 1
                cost = _cost(seconds, num_engines, pool.price_per_engine_hour)
            return Expectation(None, seconds, "measured here" if seconds is not None else "", cost)


def _cost(seconds: float | None, number: int, price_per_hour: float | None) -> float | None:
    return None if seconds is None or price_per_hour is None else number * price_per_hour * seconds / 3600


def _training_to_do(stage: Stage, done: Pipeline, expected: Expectation) -> TrainingToDo:
    name = stage.variant
    spec, mixture = done.settings[name].training, done.arms[name].mixture
    tokens = (expected.tokens or 0.0) / spec.num_epochs
    made = mixture is not None and mixture.manifest is not None
    num_rows = mixture.record.details["num_rows"] if mixture is not None and made else None
    return TrainingToDo(name, done.settings[name], tokens, num_rows, expected.seconds, expected.source)


def _mixture_tokens(recipe: Recipe, done: Pipeline, name: str, thought_tokens_of_document: float) -> float:
    built, variant = done.arms[name].mixture, done.variants[name]
    if built is not None and built.manifest is not None:
        return built.manifest.tokens["all"]
    spec = done.settings[name].mixture
    if spec.match_tokens_of and variant.matched_to is not None:
        return _mixture_tokens(recipe, done, variant.matched_to, thought_tokens_of_document)
    num_documents, text_tokens = _corpus_size(recipe, done, variant.sources)
    is_text_alone = spec.layout == "text_only"  # as document-matched controls are
    thought_tokens = num_documents * thought_tokens_of_document
    return spec.num_tokens or (text_tokens if is_text_alone else text_tokens + thought_tokens)


def _corpus_size(recipe: Recipe, done: Pipeline, sources: Sequence[str] | None = None) -> tuple[float, float]:
    """Training documents and their tokens, of these sources or of all; counted, or guessed from the sizes of files."""
    wanted = [
        name
        for name, source in recipe.corpus.sources.items()
        if source.role == "study" and (sources is None or name in sources)
    ]
    if done.corpus is not None and done.corpus.manifest is not None:
        details = done.corpus.manifest.details
        number, words = float(details["num_train"]), float(details["num_train_words"])
        if sources is None:
            return number, words * _TOKENS_PER_WORD
        of_wanted = sum(details["sources"].get(name, {}).get("train", 0) for name in wanted)
        return float(of_wanted), words * _TOKENS_PER_WORD * of_wanted / max(number, 1.0)
    num_documents = num_bytes = 0.0
    for name in wanted:
        rows, size = expected_size(name, recipe.corpus.sources[name])
        num_documents, num_bytes = num_documents + rows, num_bytes + size
    share = 1 - recipe.corpus.heldout_share
    if recipe.corpus.passage_tokens is not None:
        tokens = num_bytes / _BYTES_PER_TOKEN
        return max(num_documents, tokens / (_FILLED * recipe.corpus.passage_tokens)) * share, tokens * share
    longest = num_documents * recipe.corpus.max_words * _TOKENS_PER_WORD
    return num_documents * share, min(num_bytes / _BYTES_PER_TOKEN, longest) * share


def _expectation(
    tokens: float,
    operations_per_parameter: float,
    model: ResolvedModel | None,
    devices: tuple[int, float, float],
    speed_of_one: float | None,
    stage: Stage,
    run: Path,
) -> Expectation:
    speeds = [manifest.throughput.get("tokens_per_s") for manifest in _manifests(stage, run)]
    measured = [speed for speed in speeds if speed]
    if measured:
        return Expectation(tokens, tokens / statistics.median(measured), "speed measured here")
    if speed_of_one is not None:
        return Expectation(tokens, tokens / (devices[0] * speed_of_one), "expected speed")
    if model is None or not model.path:
        return Expectation(tokens)
    num_parameters = read_model_shape(Path(model.path)).num_parameters
    number, cpus, gpus = devices
    rate = number * (gpus * _GPU_OPERATIONS_PER_S if gpus else max(1.0, cpus) * _CPU_OPERATIONS_PER_S)
    return Expectation(tokens, operations_per_parameter * num_parameters / rate, "assumed speed")


def _measured_seconds(stage: Stage, run: Path) -> float | None:
    seconds = [manifest.seconds for manifest in _manifests(stage, run)]
    return statistics.median(seconds) if seconds else None


def _manifests(stage: Stage, run: Path) -> list[Manifest]:
    return [manifest for folder in (run / stage.name).glob("*") if (manifest := read_manifest(folder))]
