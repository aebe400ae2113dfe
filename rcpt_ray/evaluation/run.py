"""Score one model by lm-eval, and check that lm-eval did what was asked.

    scores.parquet    records.SCORE
    answers.parquet   records.ANSWER, where tasks are generated
    choices.parquet   records.CHOICE, where tasks are by likelihood

The tasks of one engine follow one another on the same model; each is checked (checks.py) before the next begins, so a
mistake costs as little as it can. in = ok + rejected in items, and no item stands twice in a metric of a task. Whoever
calls `evaluate` ends the models that it opened (models.py).
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import Counts, Outcome, write_table
from rcpt_ray.evaluation.asked import Row, Rows, TaskSet
from rcpt_ray.evaluation.checks import check_ran, check_truncations
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import open_model, text_room
from rcpt_ray.evaluation.spec import HELDOUT, LikelihoodTask, StockTask
from rcpt_ray.evaluation.stock import figures_without_rows, stock_set
from rcpt_ray.evaluation.tasks import generated_set, likelihood_set
from rcpt_ray.evaluation.tasks_heldout import THOUGHTS, heldout_set, thoughts_set
from rcpt_ray.evaluation.tokens import TextTokens
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.records import ANSWER, CHOICE, SCORE

_TABLES = {"answers": ANSWER, "choices": CHOICE}


def evaluate(job: EvaluationJob) -> Outcome:
    """Write the rows of a model; counts are in items.

    Raises:
        UserError: data, names or lengths that the user can mend.
        LmEvalDiffers: lm-eval did something else than asked.
    """
    rows, details, seconds = Rows(), dict[str, dict[str, Any]](), 0.0
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".stock-") as work:
        sets = task_sets(job, Path(work))
        for use in ("likelihood", "generation"):
            for task_set in sets:
                if task_set.use == use and task_set.asked:
                    model, started = open_model(job, use), time.monotonic()
                    made, told = run_set(job, model, task_set)
                    seconds += time.monotonic() - started
                    rows.add(made)
                    details[task_set.name] = told
    _check_once(rows.scores)
    write_table(job.folder / "scores.parquet", pa.Table.from_pylist(rows.scores, schema=SCORE))
    for name, schema in _TABLES.items():
        if getattr(rows, name):
            write_table(job.folder / f"{name}.parquet", pa.Table.from_pylist(getattr(rows, name), schema=schema))
    num_ok, rejected = sum(one.num_items for one in sets), sum((one.rejected for one in sets), Counter[str]())
    heldout = {name: details.pop(name) for name in (HELDOUT, THOUGHTS) if name in details}
    return Outcome(
        counts=Counts.of("item", num_ok, rejected),
        details={"precision": fast_number_format(job.spec.precision), "tasks": details, "heldout": heldout},
        throughput={"items_per_s": num_ok / seconds} if seconds else {},
    )


def task_sets(job: EvaluationJob, work: Path) -> list[TaskSet]:
    """Everything that a job asks for, in the order of the recipe."""
    sets: list[TaskSet] = []
    for name, spec in job.spec.tasks.items():
        match spec:
            case LikelihoodTask():
                sets.append(likelihood_set(name, spec))
            case StockTask():
                sets.append(stock_set(name, spec, job.seed, work))
            case _:
                sets.append(generated_set(name, spec, job))
    heldout = heldout_set(job) if job.spec.heldout_bits_per_byte else None
    thoughts = _thoughts(job) if job.thought_parts else None
    return sets + [one for one in (heldout, thoughts) if one is not None]


def _thoughts(job: EvaluationJob) -> TaskSet | None:
    tokens = TextTokens(job.model_path, [job.thought_open, job.thought_close], job.trust_remote_code)
    return thoughts_set(job, lambda text: len(tokens.encode(text, False)), text_room(job.spec, job.model_path))


def run_set(job: EvaluationJob, model: Any, task_set: TaskSet) -> tuple[Rows, dict[str, Any]]:
    """The rows of one task, and what of it goes into the manifest, after all checks."""
    # Not simple_evaluate, which spends two seconds on a description of the machine each time.
    from lm_eval import evaluate as run_tasks

    for asked in task_set.asked:
        asked.task.set_fewshot_seed(job.seed)
    set_seeds(job.seed)
    before, spec = model.num_truncated, job.spec.tasks.get(task_set.name)
    results = run_tasks(
        lm=model,
        task_dict={"tasks": {asked.name: asked.task for asked in task_set.asked}},
        limit=spec.max_questions if isinstance(spec, StockTask) else None,
        bootstrap_iters=0,
        log_samples=True,
    )
    num_truncated = model.num_truncated - before
    check_truncations(task_set, num_truncated, job.spec.max_length_tokens)
    rows, figures = Rows(), dict[str, dict[str, float]]()
    for asked in task_set.asked:
        samples = check_ran(asked, results)
        rows.add(task_set.rows(asked.name, samples))
        figures |= figures_without_rows(asked.name, samples, results)
    told = dict(task_set.details) | {
        "num_items": task_set.num_items,
        "num_truncated": num_truncated,
        "engine": model.engine,
        "seeds": model.seeds,
    }
    return rows, told | ({"figures": figures} if figures and isinstance(spec, StockTask) else {})


def set_seeds(seed: int) -> None:
    """Seeds of everything that a task or a model of lm-eval may draw from."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _check_once(scores: Sequence[Row]) -> None:
    """No item twice in a metric of a task."""
    counted = Counter((row["task"], row["metric"], row["item_id"]) for row in scores)
    twice = [key for key, number in counted.items() if number > 1]
    assert not twice, f"item {twice[0][2]} has two scores in {twice[0][1]} of {twice[0][0]}"
