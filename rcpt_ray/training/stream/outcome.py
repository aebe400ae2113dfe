"""The streaming training around its workers: the plan, the run, and what goes into the manifest.

Left in the stage's folder beside the model: record/ (every row in the order of the training, to repeat it exactly),
steps.parquet and timeline.parquet. Counts are in documents of a component: in = drawn + rejected by the selection + not
drawn (+ not waited for, where the token budget was reached before all thoughts were written).
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, hold, write_atomic, write_table
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.candidates import Component
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.records import SEGMENT_KINDS, TIMELINE
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.outcome import begin, cost_of, finish_steps, throughput_of
from rcpt_ray.training.progress import TrainingProgress
from rcpt_ray.training.row_file import read_rows
from rcpt_ray.training.spec import TrainingSpec
from rcpt_ray.training.stream.record import Record, compact
from rcpt_ray.training.stream.refusal import refusal_at_end
from rcpt_ray.training.stream.timeline import Timeline, read_timeline
from rcpt_ray.training.stream.work import StreamWork
from rcpt_ray.training.watch import STEPS

_TOKENS_PER_WORD = 1.35


def planned_steps(
    spec: TrainingSpec,
    mixture: MixtureSpec,
    thoughts: ThoughtsSpec,
    components: Sequence[Component],
    shards: Sequence[Path],
    folder: Path,
) -> int:
    """The steps that the schedule is made for: as set, or as estimated; once said, it stays so in this folder."""
    file = folder / "plan.json"
    if file.exists():
        return int(json.loads(file.read_text(encoding="utf-8"))["num_steps"])
    tokens = mixture.num_tokens or _expected_tokens(mixture, thoughts, components, shards)
    estimate = max(1, math.ceil(tokens / (spec.global_batch_rows * mixture.row_tokens)))
    num_steps = spec.stream.num_steps or estimate
    write_atomic(file, json.dumps({"num_steps": num_steps, "estimate": estimate}), durable=True)
    return num_steps


def make_streaming(job: TrainingJob, work: StreamWork, bar: Bar) -> Outcome:
    """Train while thoughts are being written, to the end of both.

    Raises:
        UserError: the engine cannot start, rejects too much, or no document could be drawn; again by each command
            that finds a stream that ended so.
    """
    end = Record(work.folder).read_end()
    reason = "" if end is None else refusal_at_end(work, end)
    if reason:
        raise UserError(reason)
    from rcpt_ray.evaluation.beside_on_ray import evaluating

    with hold(work.thoughts_folder), evaluating([job], bar, work.generation.spec.pool):
        if not (job.folder / "model").exists():
            _train(job, work, bar)
    return _outcome(job, work)


def _train(job: TrainingJob, work: StreamWork, bar: Bar) -> None:
    from rcpt_ray.training.on_ray import train_on_ray

    begin(job)
    Record(work.folder).forget_failures()
    progress = TrainingProgress(bar, job.plan.num_steps)
    with Timeline(work, read_rows(job.folder / STEPS), bar) as timeline:

        def on_row(row: dict[str, Any]) -> None:
            timeline.say(progress.show(row))
            if "bits_per_byte" not in row:
                timeline.step(row)

        train_on_ray([job], on_row, work)


def _outcome(job: TrainingJob, work: StreamWork) -> Outcome:
    record, folder = Record(work.folder), job.folder / "record"
    end = record.read_end()
    assert end is not None, "the training ended before the stream"
    if not folder.exists():
        compact(record, int(end["num_batches"]), folder)
    rows, figures = finish_steps(job, int(end["num_batches"]))
    timeline = read_timeline(work.folder)
    write_table(job.folder / "timeline.parquet", pa.Table.from_pylist(timeline, schema=TIMELINE))
    found = _Recorded(sorted(folder.glob("part-*.parquet")))
    # Once more where a command was killed between here and the manifest.
    shutil.rmtree(work.tokens_folder, ignore_errors=True)
    for batch in work.folder.glob("batch-*.parquet"):
        batch.unlink(missing_ok=True)
    achieved = sum(found.tokens.values())
    target = work.mixture.shares or {name: tokens / achieved for name, tokens in found.tokens.items()}
    return Outcome(
        counts=_counts(work, end, found.num_used),
        tokens={"all": achieved, "trained": achieved, "targets": sum(row["num_tokens"] for row in rows)}
        | {name: n for name, n in zip(SEGMENT_KINDS[1:], found.kinds[1:].tolist(), strict=True) if n},
        details=figures
        | {
            "num_epochs": 1,
            "planned_steps": job.plan.num_steps,
            "components": [component.name for component in work.components],
            "target": target,
            "achieved": {name: found.tokens[name] / achieved for name in target},
            "achieved_tokens": achieved,
            "num_rows": found.num_rows,
            "row_tokens": job.plan.row_tokens,
            "padding_share": int(found.kinds[0]) / (found.num_rows * job.plan.row_tokens),
            "num_draws": found.num_draws,
            "special_tokens": list(job.special_tokens),
            "thoughts_at_first_step": _thoughts_at_first_step(timeline),
            "thoughts_at_end": end["num_thoughts"],
        },
        throughput=throughput_of(rows),
        cost=cost_of(job.spec, figures),
    )


class _Recorded:
    """What the record's rows hold."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self.num_rows, self.kinds = 0, np.zeros(len(SEGMENT_KINDS), np.int64)
        self.tokens = Counter[str]()
        draws = set[tuple[str, str, int]]()
        for part in parts:
            for batch in pq.ParquetFile(part).iter_batches(1024, columns=["segment_kind", "pieces"]):
                self.num_rows += len(batch)
                self.kinds += np.bincount(batch["segment_kind"].flatten().to_numpy(), minlength=len(SEGMENT_KINDS))
                for piece in batch["pieces"].flatten().to_pylist():
                    self.tokens[piece["component"]] += piece["length"]
                    draws.add((piece["component"], piece["doc_id"], piece["repeat"]))
        assert sum(self.tokens.values()) == int(self.kinds[1:].sum()), "pieces and tokens do not agree"
        self.num_draws = len(draws)
        self.num_used = len({(component, doc_id) for component, doc_id, _ in draws})


def _counts(work: StreamWork, end: Mapping[str, Any], num_used: int) -> Counts:
    rejected = Counter(end["rejected"])
    num_arrived = sum(end["num_candidates"].values())
    rejected["not_drawn"] = num_arrived - num_used
    if not end["has_all"]:
        in_shards = Counter[str]()
        for shard in [*work.shards.values(), *work.replay_shards.values()]:
            for source in pq.read_table(shard, columns=["source"])["source"].value_counts().to_pylist():
                in_shards[source["values"]] += source["counts"]
        expected = sum(in_shards[component.source] for component in work.components)
        rejected["not_waited_for"] = expected - num_arrived - sum(end["rejected"].values())
    return Counts.of("document of a component", num_used, +rejected)


def _expected_tokens(
    mixture: MixtureSpec, thoughts: ThoughtsSpec, components: Sequence[Component], shards: Sequence[Path]
) -> float:
    """Tokens of all documents with the thoughts asked for, as far as the weights allow."""
    documents, words = Counter[str](), Counter[str]()
    for shard in shards:
        by_source = pq.read_table(shard, columns=["source", "num_words"]).group_by("source")
        for row in by_source.aggregate([("num_words", "sum"), ("num_words", "count")]).to_pylist():
            documents[row["source"]] += row["num_words_count"]
            words[row["source"]] += row["num_words_sum"]
    limit = min(thoughts.asked_words * _TOKENS_PER_WORD, thoughts.sampling.max_thought_tokens)
    if thoughts.select.max_thought_tokens is not None:
        limit = min(limit, thoughts.select.max_thought_tokens)
    tokens = {
        one.name: words[one.source] * _TOKENS_PER_WORD + (documents[one.source] * limit if one.writes else 0)
        for one in components
    }
    shares = mixture.shares
    return sum(tokens.values()) if shares is None else min(tokens[name] / share for name, share in shares.items())


def _thoughts_at_first_step(timeline: Sequence[Mapping[str, Any]]) -> int:
    """Thoughts that were written when the first step was seen to be trained."""
    return int(next((row for row in timeline if row["num_steps"]), timeline[-1])["num_thoughts"])
