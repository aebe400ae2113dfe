"""The scores stage: a number a generated row and kind of score, kept beside the thoughts and read by select.

    part-<shard>-<content>-<key>.parquet   doc_id, sample_index, gain_bits, critic of the part of that name

A part is renamed into place when it is whole, so a killed command scores at most the parts in flight again; a part that
another folder has already scored is taken over. Each row of the generated parts has one row here; a row that was
rejected, or does not fit, has no numbers. The gain is that of the thought as it was generated, before truncation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, remove_parts, write_table
from rcpt_ray.records import SCORED_THOUGHT
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.engine import EngineDied
from rcpt_ray.thoughts.gather import gather_or_cancel
from rcpt_ray.thoughts.parts import take_over
from rcpt_ray.thoughts.scorers import CriticScorer, Delimiters, FakeScorer, GainScorer, Scorer
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import VllmClient

_MOST_TRIES = 3


@dataclass(frozen=True)
class Scoring:
    """How rows are scored, and a key over what defines the scores."""

    spec: ThoughtsSpec
    seed: int
    key: str
    student_path: str
    teacher_path: str
    delimiters: Delimiters
    kinds: tuple[str, ...]
    student_runs_code: bool = False

    def scorer(self, kind: str) -> Scorer:
        """The scorer of a kind, not started yet."""
        if self.spec.engine == "fake":
            return FakeScorer()
        spec = self.spec.model_copy(update={"max_model_tokens": self.spec.scores.max_model_tokens})
        if kind == "gain_bits":
            # What changes the teacher's answers, such as its quantization, is not meant for the student.
            judge = spec.teacher.model_copy(update={"trust_remote_code": self.student_runs_code})
            spec = spec.model_copy(update={"engine_args": {}, "teacher": judge})
            return GainScorer(VllmClient(self.student_path, spec, self.seed), self.delimiters)
        return CriticScorer(VllmClient(self.teacher_path, spec, self.seed), self.spec.scores.critic)


def make_scores(
    scoring: Scoring, parts: Sequence[Path], folder: Path, connect: Callable[[], None], bar: Bar
) -> Outcome:
    """Scored parts for all generated parts in `folder`: taken over where they exist, else scored, after `connect`."""
    targets = {part: folder / scored_name(part, scoring.key) for part in parts}
    remove_parts(folder, keep={target.name for target in targets.values()})
    bar.total(len(targets))
    to_do = {part: target for part, target in targets.items() if not _found(target)}
    bar.advance(len(targets) - len(to_do))
    if to_do:
        bar.note("engines start")
        connect()
        from rcpt_ray.thoughts.scores_on_ray import score_on_ray

        score_on_ray(to_do, scoring, lambda: bar.advance())
    scored, num_rows = dict.fromkeys(scoring.kinds, 0), 0
    for target in targets.values():
        table = pq.read_table(target)
        num_rows += len(table)
        for kind in scoring.kinds:
            scored[kind] += len(table) - table[kind].null_count
    num_ok = max(scored.values(), default=0)
    not_scored = {"not_scored": num_rows - num_ok} if num_rows > num_ok else {}
    return Outcome(counts=Counts.of("doc_id with sample_index", num_ok, not_scored), details={"scored": scored})


def scored_name(part: Path, key: str) -> str:
    """The file with a generated part's scores; the part's own name holds a digest of its rows."""
    return f"{part.stem}-{key[:8]}.parquet"


async def score_part(part: Path, target: Path, scorers: Mapping[str, Scorer]) -> None:
    """Score a generated part and write it into place; scorers must be started."""
    rows: list[dict[str, Any]] = pq.read_table(part).to_pylist()
    scored: list[dict[str, Any]] = [{"doc_id": row["doc_id"], "sample_index": row["sample_index"]} for row in rows]
    for kind, scorer in scorers.items():
        values = await _values(rows, scorer)
        for row, value in zip(scored, values, strict=True):
            row[kind] = value
    write_table(target, pa.Table.from_pylist(scored, schema=SCORED_THOUGHT))


async def _values(rows: Sequence[dict[str, Any]], scorer: Scorer) -> list[float | None]:
    """Scores of the rows that have a thought; an engine that dies is started again, a few times."""

    async def value(row: dict[str, Any]) -> float | None:
        return await scorer.score(row) if row["status"] == "ok" else None

    for number in range(_MOST_TRIES):
        try:
            return await gather_or_cancel(value(row) for row in rows)
        except EngineDied:
            if number == _MOST_TRIES - 1:
                raise
        scorer.start()
    raise AssertionError("unreachable")


def _found(target: Path) -> bool:
    """Whether a scored part is in its folder, or was taken over from one beside it."""
    if target.exists():
        return True
    for sibling in sorted(target.parent.parent.iterdir()):
        if sibling != target.parent and (sibling / target.name).exists():
            take_over(sibling / target.name, target)
            return True
    return False
