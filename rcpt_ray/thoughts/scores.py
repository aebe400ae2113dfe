"""The scores stage: a number a generated row and kind of score, kept beside the thoughts and read by select.

    part-<key>.parquet   doc_id, sample_index, gain_bits, critic; the key covers the scored part's rows and the scoring

A part is renamed into place when it is whole, so a killed command scores at most the parts in flight again; a part that
another folder has already scored is taken over. Each row of the generated parts has one row here; a row that was
rejected, or does not fit, has no numbers.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, write_table
from rcpt_ray.cache import file_sha256
from rcpt_ray.records import SCORED_THOUGHT
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.engine import EngineDied
from rcpt_ray.thoughts.parts import take_over
from rcpt_ray.thoughts.scorers import CriticScorer, Delimiters, FakeScorer, GainScorer, Scorer
from rcpt_ray.thoughts.spec import ThoughtsSpec
from rcpt_ray.thoughts.vllm_client import VllmClient

KINDS = ("gain_bits", "critic")
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

    def scorer(self, kind: str) -> Scorer:
        """The scorer of a kind, not started yet."""
        if self.spec.engine == "fake":
            return FakeScorer()
        spec = self.spec.model_copy(update={"max_model_tokens": self.spec.scores.max_model_tokens})
        if kind == "gain_bits":
            # What changes the teacher's answers, such as its quantization, is not meant for the student.
            spec = spec.model_copy(update={"engine_args": {}})
            return GainScorer(VllmClient(self.student_path, spec, self.seed), self.delimiters)
        return CriticScorer(VllmClient(self.teacher_path, spec, self.seed), self.spec.scores.critic)


def make_scores(
    scoring: Scoring, parts: Sequence[Path], folder: Path, connect: Callable[[], None], bar: Bar
) -> Outcome:
    """Scored parts for all generated parts in `folder`: taken over where they exist, else scored, after `connect`."""
    names = {_name(part, scoring): part for part in parts}
    for stale in folder.glob("part-*.parquet"):
        if stale.name not in names:
            stale.unlink()
    bar.total(len(names))
    to_do = {name: part for name, part in names.items() if not _found(name, folder)}
    bar.advance(len(names) - len(to_do))
    if to_do:
        bar.note("engines start")
        connect()
        from rcpt_ray.thoughts.scores_on_ray import score_on_ray

        score_on_ray({part: folder / name for name, part in to_do.items()}, scoring, lambda: bar.advance())
    tables = [pq.read_table(folder / name) for name in names]
    num_rows = sum(map(len, tables))
    scored = {kind: sum(len(table) - table[kind].null_count for table in tables) for kind in scoring.kinds}
    num_ok = max(scored.values(), default=0)
    return Outcome(
        counts=Counts.of(
            "doc_id with sample_index", num_ok, {"not_scored": num_rows - num_ok} if num_rows > num_ok else {}
        ),
        details={"scored": scored},
    )


def read_scores(parts: Sequence[Path]) -> dict[tuple[str, int], Mapping[str, float | None]]:
    """Scores by doc_id and sample_index."""
    return {
        (row["doc_id"], row["sample_index"]): {kind: row[kind] for kind in KINDS}
        for part in parts
        for row in pq.read_table(part).to_pylist()
    }


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
            return list(await asyncio.gather(*(value(row) for row in rows)))
        except EngineDied:
            if number == _MOST_TRIES - 1:
                raise
            scorer.start()
    raise AssertionError("unreachable")


def _name(part: Path, scoring: Scoring) -> str:
    digest = hashlib.sha256(f"{file_sha256(part)} {scoring.key}".encode()).hexdigest()[:16]
    return f"part-{digest}.parquet"


def _found(name: str, folder: Path) -> bool:
    """Whether a scored part is in the folder, or was taken over from one beside it."""
    if (folder / name).exists():
        return True
    for sibling in sorted(folder.parent.iterdir()):
        if sibling != folder and os.path.exists(sibling / name):
            take_over(sibling / name, folder / name)
            return True
    return False
