"""Arms of several runs side by side, named run:arm, so that equal names of items mean equal items.

Invariants: a task of which any file (questions, examples, data of a stock task) is another one than in the runs before
gets a name of its own, and so does a stock task without files, whose data nobody has a digest of; so does a held-out
document whose weight (bytes, or tokens of its thought) differs from that of the first of its id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from rcpt_ray.report.inputs import ArmResult
from rcpt_ray.report.sources import FinishedRun

_OF_DOCUMENTS = ("bits_per_byte", "thought_nats", "gain")


@dataclass(frozen=True)
class _Definition:
    """What a task asks."""

    kind: str
    name: str
    """Of a task of lm-eval."""
    digests: Mapping[str, str]
    """Of its files, by use: questions, examples, splits of data."""

    @property
    def is_known(self) -> bool:
        """False where lm-eval fetched the data itself, so nobody knows which they were."""
        return self.kind != "stock" or bool(self.digests)


def side_by_side(runs: Sequence[FinishedRun]) -> tuple[list[ArmResult], list[str]]:
    """The arms of all runs with items that are not the same under names of their own, and sentences about these."""
    known, weights = dict[str, tuple[_Definition, str]](), dict[str, pa.Table]()
    arms, apart = list[ArmResult](), list[str]()
    for run in runs:
        renamed = dict[str, str]()
        for task, own in _definitions(run).items():
            first, of_run = known.setdefault(task, (own, run.name))
            if of_run == run.name or (own == first and own.is_known):
                continue
            renamed[task] = f"{task} ({run.name})"
            apart.append(
                f"{task}: the questions or examples of {run.name} are other ones than those of {of_run}, so no "
                "differences are taken on it (evaluation.tasks)."
                if own.is_known and first.is_known
                else f"{task}: whether {run.name} asked the same as {of_run} is not known, as lm-eval fetched the "
                "data, so no differences are taken on it (evaluation.tasks, data)."
            )
        num_other = 0
        for arm in run.arms:
            scores, other = _own_documents(arm.scores, weights, run.name)
            num_other = max(num_other, other)
            answers = None if arm.answers is None else _with_tasks(arm.answers, renamed)
            arms.append(
                replace(
                    arm,
                    name=f"{run.name}:{arm.name}",
                    arm=f"{run.name}:{arm.arm}",
                    scores=_with_tasks(scores, renamed),
                    answers=answers,
                )
            )
        if num_other:
            apart.append(
                f"{num_other:,} held-out figures of {run.name} have the id but not the length of another run's "
                "document, and are not compared (corpus)."
            )
    return arms, apart


def _definitions(run: FinishedRun) -> dict[str, _Definition]:
    """What each task of a run asks, from the evaluations of its arms."""
    tasks, digests = dict[str, dict[str, str]](), dict[str, dict[str, str]]()
    for arm in run.arms:
        if arm.evaluation is None:
            continue
        for name, digest in arm.evaluation.inputs.items():
            task, _, use = name.rpartition("/")
            if task:
                digests.setdefault(task, {})[use] = digest
        for task, told in arm.evaluation.details.get("tasks", {}).items():
            tasks[task] = told
    asked = run.recipe.get("evaluation", {}).get("tasks", {})
    return {
        task: _Definition(
            tasks.get(task, {}).get("kind", ""), asked.get(task, {}).get("name", ""), digests.get(task, {})
        )
        for task in {**tasks, **digests}
    }


def _own_documents(scores: pa.Table, weights: dict[str, pa.Table], run: str) -> tuple[pa.Table, int]:
    """The scores, where held-out documents of equal id but other weight than seen before have ids of their own."""
    num_other = 0
    for metric in _OF_DOCUMENTS:
        here = pc.equal(scores["metric"], metric)
        own = scores.filter(here)
        if not len(own):
            continue
        known = weights.setdefault(metric, own.select(["item_id", "weight"]))
        seen = (
            known["weight"]
            .combine_chunks()
            .take(pc.index_in(own["item_id"], value_set=known["item_id"].combine_chunks()))
        )
        other = pc.fill_null(pc.not_equal(own["weight"], seen), False)
        num_other += pc.sum(other).as_py() or 0
        ids = pc.if_else(
            other, pc.binary_join_element_wise(own["item_id"], pa.scalar(f" of {run}"), ""), own["item_id"]
        )
        own = own.set_column(own.schema.get_field_index("item_id"), "item_id", ids)
        scores = pa.concat_tables([scores.filter(pc.invert(here)), own])
    return scores, num_other


def _with_tasks(table: pa.Table, renamed: dict[str, str]) -> pa.Table:
    for task, name in renamed.items():
        tasks = pc.if_else(pc.equal(table["task"], task), name, table["task"])
        table = table.set_column(table.schema.get_field_index("task"), "task", tasks)
    return table
