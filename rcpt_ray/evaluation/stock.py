"""lm-eval's own tasks by name, a task, a group or a tag, with the data of the hub or local files in their place.

The task's file decides prompt, shots, metrics and filters; what is overridden is its data, and its shots where asked.
Rows keep lm-eval's names of metrics (`metric,filter` where a task has named filters). A metric that is no number for
one item, such as f1, has no rows; lm-eval's own figure for it stands in the manifest.

Local files are written as Parquet beside the stage first: some tasks (gpqa) shuffle the choices each time that their
documents are asked for, and only what `datasets` keeps on disk stays the same from the prompt to the judgement.
Price: lm-eval reads the index of all its tasks once a process, about ten seconds.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from difflib import get_close_matches
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import write_table
from rcpt_ray.corpus.reading.object_store import first_words
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.asked import Asked, Row, Rows, TaskSet, Use
from rcpt_ray.evaluation.files import records_of, task_files
from rcpt_ray.evaluation.rows import score
from rcpt_ray.evaluation.spec import StockTask

_USES: Mapping[str, Use] = {
    "multiple_choice": "likelihood",
    "loglikelihood": "likelihood",
    "loglikelihood_rolling": "likelihood",
    "generate_until": "generation",
}


@cache
def task_manager() -> Any:
    """lm-eval's index of its tasks."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def stock_set(name: str, spec: StockTask, seed: int, work: Path) -> TaskSet:
    """The tasks of a name; local data is kept in `work` while they run.

    Raises:
        UserError: lm-eval has no such task, cannot make it of the data, or the name has tasks of both sorts.
    """
    from lm_eval.tasks._factory import TaskFactory

    setting = f"evaluation.tasks.{name}"
    manager = task_manager()
    if spec.name not in manager.task_index:
        near = get_close_matches(spec.name, manager.task_index, n=3)
        raise UserError(
            f"{setting}.name={spec.name} is no task of lm-eval; "
            f"{'near are ' + ', '.join(near) if near else 'see lm-eval ls tasks'}"
        )
    _keep_scripts_out()
    # What a task draws while it is loaded, such as the order of gpqa's choices, goes by the recipe's seed.
    random.seed(seed)
    overrides: dict[str, Any] = {}
    local = _LocalData(setting, spec, work)
    if spec.num_fewshot is not None:
        overrides["num_fewshot"] = spec.num_fewshot
    if spec.data:
        overrides["custom_dataset"] = local.load
    try:
        # By its factory: what TaskManager.load overrides in a group, the group's own name among it, goes to every task.
        built = TaskFactory().build(manager.task_index[spec.name], overrides=overrides, registry=manager.task_index)
        loaded = manager.load(built if isinstance(built, list) else [built])["tasks"]
    except UserError:
        raise
    except Exception as error:
        # lm-eval's tasks are code and templates over columns: what fails here is the data, or the hub.
        source = "data" if spec.data else "the hub"
        raise UserError(
            f"{setting}.name={spec.name} cannot be made of {source}: {type(error).__name__}, {first_words(error)}; "
            f"look at {setting}.data, which gives files by split with the columns that the task reads"
        ) from error
    uses = {_USES[task.OUTPUT_TYPE] for task in loaded.values()}
    if len(uses) > 1:
        raise UserError(
            f"{setting}.name={spec.name} has tasks by likelihood and by generation; name them apart: "
            f"{', '.join(loaded)}"
        )
    splits = {task.config.test_split or task.config.validation_split for task in loaded.values()}
    return _task_set(name, spec, uses.pop(), loaded, local.rows_not_asked(splits))


def _keep_scripts_out() -> None:
    """Have `evaluate`, which some tasks of lm-eval take metrics from, download no scripts of the hub to run them."""
    import_module("evaluate.config").__dict__["HF_EVALUATE_OFFLINE"] = True


def _task_set(name: str, spec: StockTask, use: Use, tasks: Mapping[str, Any], num_not_asked: int) -> TaskSet:
    asked = []
    for leaf, task in tasks.items():
        num_documents = len(task.eval_docs)
        num_items = min(num_documents, spec.max_questions or num_documents)
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
        own_shots, num_samples = task.get_config("num_fewshot"), task.get_config("repeats") or 1
        num_fewshot = own_shots if spec.num_fewshot is None else spec.num_fewshot
        asked.append(Asked(leaf, task, num_fewshot, num_items, num_samples))
    shots = sorted({one.num_fewshot for one in asked})
    details = {
        "kind": spec.kind,
        "num_fewshot": shots[0] if len(shots) == 1 else shots,
        "num_samples": max(one.num_samples for one in asked),
        "chance": None,
        "names": sorted(tasks),
    }
    num_items = sum(one.num_items for one in asked)
    rejected = +Counter({"in_no_task": num_not_asked})
    return TaskSet(name, use, asked, partial(stock_rows, name), details, num_items, rejected)


def stock_rows(set_name: str, name: str, samples: Sequence[Row]) -> Rows:
    """A score for each item, metric and filter; an item is known by its task and its place."""
    rows = Rows()
    for sample in samples:
        own = {column: sample["doc"].get(column) for column in ("category", "domain", "difficulty")}
        document = {column: value for column, value in own.items() if isinstance(value, str)}
        document |= {"item_id": f"{name}-{sample['doc_id']:05d}", "subject": name}
        for metric, value in numbers_of(sample).items():
            rows.scores.append(score(set_name, document, metric, value))
    return rows


def numbers_of(sample: Row) -> dict[str, float]:
    """The metrics of a logged sample that are numbers, by lm-eval's names.

    >>> numbers_of({"metrics": ["acc", "f1"], "acc": 1.0, "f1": (0, 1), "filter": "none"})
    {'acc': 1.0}
    """
    own = {metric: sample[metric] for metric in sample["metrics"]}
    return {
        metric if sample["filter"] == "none" else f"{metric},{sample['filter']}": float(value)
        for metric, value in own.items()
        if isinstance(value, int | float)
    }


def figures_without_rows(name: str, samples: Sequence[Row], results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """lm-eval's own figures of the metrics that have no rows, by task."""
    with_rows = {metric for sample in samples for metric in numbers_of(sample)}
    figures = {
        key.removesuffix(",none"): value
        for key, value in results["results"][name].items()
        if "," in key and "_stderr," not in key and isinstance(value, int | float)
    }
    without = {metric: float(value) for metric, value in figures.items() if metric not in with_rows}
    return {name: without} if without else {}


class _LocalData:
    """The rows of local files by split, and which subsets of them the tasks asked for."""

    def __init__(self, setting: str, spec: StockTask, work: Path) -> None:
        self._setting, self._spec, self._work = setting, spec, work
        self._subsets = set[str | None]()
        self._rows = {
            use.removeprefix("data."): [record for record, _ in records_of(files)]
            for use, files in task_files(setting, spec).items()
        }

    def load(self, config_source: str = "", **_: Any) -> Any:
        """What lm-eval calls for a task's data: the rows of its own subset."""
        from datasets import load_dataset
        from lm_eval.tasks._yaml_loader import load_yaml

        column = self._spec.subset_column
        subset = load_yaml(config_source, resolve_func=False).get("dataset_name") if column else None
        self._subsets.add(subset)
        folder = self._work / self._spec.name / (subset or "all")
        for split, own in self._rows.items():
            of_subset = [row for row in own if column is None or row.get(column) == subset]
            if not of_subset:
                raise UserError(
                    f"{self._setting}.data.{split} has no rows with {column}={subset}; add them, or name a task "
                    f"that does not ask for them instead of {self._spec.name}"
                )
            write_table(folder / f"{split}.parquet", pa.Table.from_pylist(of_subset))
        files = {split: str(folder / f"{split}.parquet") for split in self._rows}
        return load_dataset("parquet", data_files=files, cache_dir=str(folder / "cache"))

    def rows_not_asked(self, splits: Set[str]) -> int:
        """Rows of the splits with the questions that are of no subset that a task asked for."""
        column = self._spec.subset_column
        questions = [row for split in splits for row in self._rows.get(split, ())]
        return sum(row.get(column) not in self._subsets for row in questions) if column else 0
