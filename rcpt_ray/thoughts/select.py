"""Select thoughts: gates and the choice among samples, without an engine.

Of each document's samples the first that passes every gate is kept; the others stay as rejected rows with their
reason. in = ok + rejected in (doc_id, sample_index).
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Counts, Outcome, write_table
from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.spec import SelectSpec


def reason_to_reject(row: dict[str, Any], spec: SelectSpec) -> str | None:
    """Why a generated thought is not used, None if it passes every gate."""
    if row["status"] != "ok":
        return str(row["reason"])
    if row["num_thought_tokens"] < spec.min_thought_tokens:
        return "too_short"
    if spec.cut_off == "reject" and row["finish_reason"] == "length":
        return "cut_off"
    return None


def select_rows(rows: list[dict[str, Any]], spec: SelectSpec) -> list[dict[str, Any]]:
    """The same rows with their final status; at most one ok for each document."""
    selected, have = [], set[str]()
    for row in rows:
        reason = reason_to_reject(row, spec) or ("not_chosen" if row["doc_id"] in have else None)
        if reason is None:
            have.add(row["doc_id"])
        selected.append(row | {"status": "rejected" if reason else "ok", "reason": reason or ""})
    return selected


def select(parts: list[Path], spec: SelectSpec, folder: Path) -> Outcome:
    """Write the selected rows of each generated part under the same name into `folder`."""
    for stale in folder.glob("part-*.parquet"):
        stale.unlink()
    counts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for part in parts:
        rows = select_rows(pq.read_table(part).to_pylist(), spec)
        counts.update(row["reason"] or "ok" for row in rows)
        for row in rows:
            tokens["thought" if row["status"] == "ok" else "thought_rejected"] += row["num_thought_tokens"]
        write_table(folder / part.name, pa.Table.from_pylist(rows, schema=THOUGHT))
    num_ok = counts.pop("ok", 0)
    return Outcome(
        counts=Counts.of("doc_id with sample_index", num_ok, counts),
        tokens=dict(tokens),
    )
