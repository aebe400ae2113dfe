"""Streaming trainings as a user types them, with thoughts that a test holds back."""

import json
from pathlib import Path
from typing import Any

SHARES = {"stem/thought": 0.6, "law/raw": 0.4}
NUM_DOCUMENTS = 60
"""Of each source."""
_HELD = "held until the test says so"


def streaming_of(folder: Path, *more: str) -> list[str]:
    """Arguments of `rcpt` for a run in `folder`; one thought is written only when its file `released` exists."""
    run, released = folder / "run", folder / "released"
    for source, num_words in (("stem", 60), ("law", 110)):
        with (folder / f"{source}.jsonl").open("w", encoding="utf-8") as lines:
            for number in range(NUM_DOCUMENTS):
                held = _HELD if (source, number) == ("stem", NUM_DOCUMENTS - 1) else "words"
                text = f"{source} {number} {held} " + f"w{number} and so on " * (num_words // 4 + number % 7)
                lines.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return [
        "jobs/recipes/stream.yaml",
        f"run={run}",
        f"corpus.sources.stem.path={folder / 'stem.jsonl'}",
        f"corpus.sources.law.path={folder / 'law.jsonl'}",
        "corpus.heldout_share=0",
        "corpus.near_duplicates=null",
        "thoughts.engine=fake",
        f"thoughts.fake={{hold_on: {_HELD}, hold_until: {released}}}",
        "cluster.num_cpus=2",
        "corpus.shard_documents=5",
        "training.stream.pool_rows=2",
        *more,
    ]


def steps(run: Path) -> list[dict[str, Any]]:
    """Rows of the steps that were trained."""
    text = "".join(file.read_text() for file in run.glob("training/*/steps.jsonl"))
    return [json.loads(line) for line in text.split("\n")[:-1]]


def steps_seen(run: Path) -> int:
    """Steps trained, as the timeline has them."""
    text = "".join(file.read_text() for file in run.glob("training/*/stream/timeline.jsonl"))
    return max((json.loads(line)["num_steps"] for line in text.split("\n")[:-1]), default=0)


def receipts(run: Path) -> dict[Path, int]:
    """Receipts of the one generate stage, with their times of change."""
    return {path: path.stat().st_mtime_ns for path in run.glob("thoughts/*/part-*.json")}
