"""Score one model by lm-eval, and check that lm-eval did what was asked.

The tokenizer splits special tokens: a text or question that holds `<|im_end|>` is scored as those characters, as in
training. A set of questions with other shots or fewer items than asked fails the stage.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, write_table
from rcpt_ray.evaluation.questions import read_task
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.evaluation.tasks import HELDOUT, bits_per_byte_task, group_questions, likelihood_task
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.records import SCORE

Row = dict[str, Any]


@dataclass(frozen=True)
class EvaluationJob:
    """What is measured and where the scores go."""

    spec: EvaluationSpec
    model_path: str
    heldout_parts: list[Path]
    folder: Path
    seed: int
    thought_open: str = ""
    thought_close: str = ""
    thought_parts: list[Path] = field(default_factory=list)


def evaluate(job: EvaluationJob) -> Outcome:
    """Write scores.parquet (records.SCORE) of a model; counts are in items."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoTokenizer

    spec, precision = job.spec, fast_number_format(job.spec.precision)
    if not torch.cuda.is_available():
        torch.set_num_threads(spec.cpus)
    model = HFLM(
        pretrained=job.model_path,
        tokenizer=AutoTokenizer.from_pretrained(job.model_path, split_special_tokens=True, local_files_only=True),
        dtype={"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision],
        device="cuda" if torch.cuda.is_available() else "cpu",
        # lm-eval would take it in the model's format: bits per byte were off by 0.2% in bf16.
        softmax_dtype="float32",
        batch_size=spec.batch_size,
        max_length=spec.max_length_tokens,
    )
    tasks, wanted_shots, items = _tasks(job)
    results = simple_evaluate(
        model=model,
        tasks=list(tasks.values()),
        # Our tasks stand alone; reading the index of all of lm-eval's tasks would take ten seconds an arm.
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        random_seed=job.seed,
        numpy_random_seed=job.seed,
        torch_random_seed=job.seed,
        fewshot_random_seed=job.seed,
    )
    rows: list[Row] = []
    for name in tasks:
        _check(name, results, wanted_shots[name], len(items[name]))
        rows += _score_rows(name, results["samples"][name])
    write_table(job.folder / "scores.parquet", pa.Table.from_pylist(rows, schema=SCORE))
    return Outcome(
        counts=Counts(unit="item", num_in=sum(map(len, items.values())), num_ok=len(rows)),
        details={
            "precision": precision,
            "shots": wanted_shots,
            "items": {name: len(rows) for name, rows in items.items()},
        },
    )


def _tasks(job: EvaluationJob) -> tuple[dict[str, Any], dict[str, int], dict[str, list[Row]]]:
    """Tasks, shots and items by name of task, as asked for."""
    tasks: dict[str, Any] = {}
    shots: dict[str, int] = {}
    items: dict[str, list[Row]] = {}
    for set_name, spec in job.spec.tasks.items():
        setting = f"evaluation.tasks.{set_name}"
        all_questions, examples = read_task(setting, spec)
        of_group = group_questions(examples)
        for group, questions in group_questions(all_questions).items():
            name = f"{set_name}/{group}"
            shots[name], items[name] = spec.num_fewshot, questions
            tasks[name] = likelihood_task(name, questions, of_group.get(group, []), spec.num_fewshot)
    documents = [row for part in job.heldout_parts for row in pq.read_table(part).to_pylist()]
    if job.spec.heldout_bits_per_byte and documents:
        shots[HELDOUT], items[HELDOUT] = 0, documents
        tasks[HELDOUT] = bits_per_byte_task(documents)
    return tasks, shots, items


def _check(name: str, results: Row, shots: int, num_items: int) -> None:
    """Compare what lm-eval says it ran with what was asked."""
    ran_shots, ran_items = results["n-shot"][name], results["n-samples"][name]["effective"]
    if ran_shots != shots or ran_items != num_items or len(results["samples"][name]) != num_items:
        raise RuntimeError(
            f"lm-eval ran {name} with {ran_shots} shots on {ran_items} items, but {shots} shots on {num_items} items "
            "were asked for"
        )


def _score_rows(name: str, samples: list[Row]) -> list[Row]:
    rows = []
    for sample in samples:
        document = sample["doc"]
        row = {
            "task": name.split("/")[0],
            "domain": document["domain"],
            "subject": document.get("subject", ""),
            "difficulty": document.get("difficulty", ""),
        }
        if name == HELDOUT:
            log_likelihood, num_bytes = sample["bits_per_byte"]
            row |= {
                "item_id": document["doc_id"],
                "metric": "bits_per_byte",
                "weight": float(num_bytes),
                "value": -log_likelihood / num_bytes / math.log(2),
            }
        else:
            row |= {"item_id": document["item_id"], "metric": "acc", "weight": 1.0, "value": float(sample["acc"])}
        rows.append(row)
    return rows
