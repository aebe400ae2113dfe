"""`rcpt plan`: what would run, what is finished, and the tokens and time expected. Arithmetic; starts nothing.

A stage's time is tokens / speed. The speed is the one measured in this run folder where the stage was made before,
otherwise operations / (assumed rate of the hardware): 2 P operations a token generated or scored and 6 P a token
trained, for a model of P parameters (Kaplan et al., arXiv 2001.08361, section 2.1); adapters spare the 2 P of the
weights' gradients, gradient checkpointing adds the 2 P of another forward pass.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from rcpt_ray.artifacts import Manifest, read_manifest, read_run_recipe, run_path
from rcpt_ray.corpus.reading.pieces import expected_size
from rcpt_ray.models import ResolvedModel
from rcpt_ray.pipeline import Pipeline, build_pipeline
from rcpt_ray.plan_training import TrainingToDo, print_trainings
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Builder, Built, Stage, look_up
from rcpt_ray.terminal import duration, table_console
from rcpt_ray.training.model_shape import read_model_shape

_BYTES_PER_TOKEN = 4.5
_TOKENS_PER_WORD = 1.35
_PROMPT_TOKENS = 200
_FILLED = 0.8
"""Share of corpus.passage_tokens that a passage has on average."""
_CPU_OPERATIONS_PER_S = 40e9
_GPU_OPERATIONS_PER_S = 150e12


@dataclass(frozen=True)
class Expectation:
    """Tokens of a stage and where its time comes from; None where nothing can be said."""

    tokens: float | None = None
    seconds: float | None = None
    source: str = ""


def print_plan(recipe: Recipe, num_sample: int | None = None) -> None:
    """Print a line a stage, after measuring on `num_sample` thoughts; UserError if an input or a model is missing."""
    run, stages = run_path(recipe.run), list[Built]()
    if (run / "recipe.json").exists():
        read_run_recipe(run)

    def look(wanted: Sequence[Stage]) -> list[Built]:
        built = [look_up(stage, run) for stage in wanted]
        stages.extend(built)
        return built

    done = build_pipeline(recipe, Builder(look))
    table = Table(title=f"plan of {recipe.name} in {recipe.run}")
    for column in ("stage", "fingerprint", "state", "tokens", "time", "from"):
        table.add_column(column, overflow="fold")
    total, trainings = 0.0, list[TrainingToDo]()
    for built in stages:
        fingerprint = built.stage.fingerprint or "after its inputs"
        if built.manifest is not None:
            table.add_row(built.stage.title, fingerprint, "finished", "", "", "")
            continue
        expected = expect(built.stage, recipe, done, run)
        total += expected.seconds or 0.0
        if built.stage.name == "training":
            trainings.append(_training_to_do(built.stage, recipe, done, expected))
        tokens = "" if expected.tokens is None else f"{expected.tokens:,.0f}"
        seconds = "" if expected.seconds is None else duration(expected.seconds)
        table.add_row(built.stage.title, fingerprint, "to do", tokens, seconds, expected.source)
    console = table_console()
    console.print(table)
    if trainings:
        print_trainings(trainings, recipe, done.student, console)
    console.print(f"about {duration(total)} of work left" if total else "nothing is left to do", highlight=False)
    if num_sample is not None:
        from rcpt_ray.sample import print_samples

        print_samples(recipe, done, num_sample, _corpus_size(recipe, done)[0])


def expect(stage: Stage, recipe: Recipe, done: Pipeline, run: Path) -> Expectation:
    """What a stage that is not finished will take."""
    num_documents, text_tokens = _corpus_size(recipe, done)
    thoughts = recipe.thoughts
    words = min(thoughts.asked_words * _TOKENS_PER_WORD, thoughts.sampling.max_thought_tokens)
    thought_tokens = num_documents * thoughts.sampling.num_samples * words
    match stage.name:
        case "thoughts":
            teacher = next(iter(done.teachers.values()), None)
            read = num_documents * _PROMPT_TOKENS + text_tokens
            devices = thoughts.pool.max_engines, thoughts.pool.cpus_per_engine, thoughts.pool.gpus_per_engine
            return _expectation(thought_tokens, 2 * (read + thought_tokens), teacher, devices, stage, run)
        case "training":
            name = stage.title.removeprefix("training of ")
            spec = recipe.arm_settings(name).training
            tokens = spec.num_epochs * _mixture_tokens(recipe, done, name, text_tokens, thought_tokens)
            devices = spec.num_workers, float(spec.cpus_per_worker), float(spec.gpus_per_worker)
            operations = (4 if spec.adapter else 6) + (2 if spec.gradient_checkpointing else 0)
            return _expectation(tokens, operations * tokens, done.student, devices, stage, run)
        case _:
            seconds = _measured_seconds(stage, run)
            return Expectation(None, seconds, "measured here" if seconds is not None else "")


def _training_to_do(stage: Stage, recipe: Recipe, done: Pipeline, expected: Expectation) -> TrainingToDo:
    name = stage.title.removeprefix("training of ")
    spec, mixture = recipe.arm_settings(name).training, done.arms[name].mixture
    tokens = (expected.tokens or 0.0) / spec.num_epochs
    if mixture is not None and mixture.manifest is not None:
        return TrainingToDo(name, tokens, mixture.manifest.details["num_rows"], expected.seconds, expected.source)
    return TrainingToDo(name, tokens, None, expected.seconds, expected.source)


def _mixture_tokens(recipe: Recipe, done: Pipeline, name: str, text_tokens: float, thought_tokens: float) -> float:
    built = done.arms[name].mixture
    if built is not None and built.manifest is not None:
        return built.manifest.tokens["all"]
    spec = recipe.arm_settings(name).mixture
    if spec.match_tokens_of:
        return _mixture_tokens(recipe, done, spec.match_tokens_of, text_tokens, thought_tokens)
    is_text_alone = spec.layout == "text_only"  # as document-matched controls are
    return spec.num_tokens or (text_tokens if is_text_alone else text_tokens + thought_tokens)


def _corpus_size(recipe: Recipe, done: Pipeline) -> tuple[float, float]:
    """Training documents and their tokens, as counted or as guessed from the sizes of the files."""
    if done.corpus is not None and done.corpus.manifest is not None:
        details = done.corpus.manifest.details
        return float(details["num_train"]), float(details["num_train_words"]) * _TOKENS_PER_WORD
    num_documents = num_bytes = 0.0
    for name, source in recipe.corpus.sources.items():
        if source.role == "study":
            rows, size = expected_size(name, source)
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
    stage: Stage,
    run: Path,
) -> Expectation:
    speeds = [manifest.throughput.get("tokens_per_s") for manifest in _manifests(stage, run)]
    measured = [speed for speed in speeds if speed]
    if measured:
        return Expectation(tokens, tokens / statistics.median(measured), "speed measured here")
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
