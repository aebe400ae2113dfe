"""`rcpt plan --sample N`: write N thoughts for real, and say what all of them will take."""

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.table import Table

from rcpt_ray import cluster
from rcpt_ray.command import in_run
from rcpt_ray.corpus.judge import Judge, Preparation
from rcpt_ray.corpus.reading.read import read_source
from rcpt_ray.corpus.spec import TRAIN_PARTS, CorpusSpec
from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.tokenize import token_counter
from rcpt_ray.models import ResolvedModel
from rcpt_ray.pipeline import Pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Built
from rcpt_ray.terminal import Terminal, duration, table_console
from rcpt_ray.thought_stages import connect_for_thoughts
from rcpt_ray.thoughts.forecast import Forecast, forecast, measure
from rcpt_ray.thoughts.generate import make_generation
from rcpt_ray.thoughts.progress import Prices
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.written import rewriting

_LOOK_AT = 20  # rows that are looked at for each one sampled, where the corpus is not prepared yet


def print_samples(recipe: Recipe, done: Pipeline, num_sample: int, num_documents: float) -> None:
    """A table a generate stage that is not finished; UserError if an engine cannot start."""
    to_do: dict[str, tuple[str, ThoughtsSpec]] = {}
    for name, stages in done.arms.items():
        arm = done.settings[name]
        for built, settings in ((stages.generated, arm), (stages.rewritten, rewriting(arm))):
            if built is not None and built.manifest is None:
                to_do[built.stage.title] = name, settings.thoughts
    if not to_do:
        table_console().print("the thoughts are written; there is nothing to sample")
        return
    documents = sample_documents(recipe, done.corpus, num_sample, done.student)
    with in_run(recipe, "sample") as (run, terminal, _), cluster.session(terminal.say):
        for title, (name, spec) in to_do.items():
            teacher = done.writers[name].teacher
            expected = _sample(title, recipe, spec, teacher, documents, num_documents, run, terminal)
            terminal.console.print(_table(title, expected, spec.pool.max_engines))


def _sample(
    title: str,
    recipe: Recipe,
    spec: ThoughtsSpec,
    teacher: ResolvedModel,
    documents: list[dict[str, Any]],
    num_documents: float,
    run: Path,
    terminal: Terminal,
) -> Forecast:
    with terminal.bar(f"sample of {title}") as bar:
        bar.note(f"{len(documents)} documents")
        connect_for_thoughts(recipe, spec)
        rows, reading = measure(documents, make_generation(spec, recipe.seed, teacher), run)
    num_rows = num_documents * spec.sampling.num_samples
    return forecast(rows, reading, num_rows, spec.pool.max_engines, Prices.of(spec))


def sample_documents(
    recipe: Recipe, corpus: Built | None, number: int, student: ResolvedModel | None
) -> list[dict[str, Any]]:
    """Documents drawn by hash: from the prepared corpus, else from the first rows of each source."""
    if corpus is not None and corpus.manifest is not None:
        shards = sorted(corpus.parts(TRAIN_PARTS), key=lambda shard: unit_hash("sample", recipe.seed, shard.name))
        candidates = [row for shard in shards[: max(4, number)] for row in pq.read_table(shard).to_pylist()]
    else:
        candidates = _unprepared(recipe.corpus, number, student)
    if not candidates:
        raise UserError(f"--sample {number}: none of the first rows of the corpus is kept; run `rcpt prepare` first")
    return sorted(candidates, key=lambda row: unit_hash("sample", recipe.seed, row["doc_id"]))[:number]


def _unprepared(spec: CorpusSpec, number: int, student: ResolvedModel | None) -> list[dict[str, Any]]:
    count_tokens = token_counter(student.path, student.trust_remote_code) if student and spec.passage_tokens else None
    judge = Judge(Preparation(spec, Path(), None, count_tokens))
    rows: list[dict[str, Any]] = []
    for name, source in spec.sources.items():
        if source.role == "study":
            first = list(islice(read_source(name, source, spec.bad_rows), _LOOK_AT * number))
            kept = [row for row in judge.batch(first, name).rows if row["reason"] is None]
            rows += [row | {"source": name, "domain": source.domain} for row in kept]
    return rows


def _table(title: str, expected: Forecast, num_engines: int) -> Table:
    low, high = expected.thought_tokens_interval
    table = Table("of", "expected", title=f"{title}, from {expected.num_sampled} written now")
    table.add_row("thoughts", f"{expected.num_rows:,.0f}")
    table.add_row("rejected by the engine", f"{expected.rejected_share:.1%}")
    table.add_row("thought tokens (95% interval)", f"{expected.thought_tokens:,.0f} ({low:,.0f} to {high:,.0f})")
    table.add_row("prompt tokens", f"{expected.prompt_tokens:,.0f}")
    table.add_row("tokens/s of one engine", f"{expected.tokens_per_s_per_engine:,.0f}")
    table.add_row("engine-hours", f"{expected.engine_hours:,.2f}")
    if expected.gpu_hours:
        table.add_row("GPU-hours", f"{expected.gpu_hours:,.2f}")
    if expected.cost is not None:
        table.add_row("cost", f"{expected.cost:,.2f}")
    table.add_row(f"time with {num_engines} engines", duration(expected.seconds))
    return table
