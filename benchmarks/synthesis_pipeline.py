"""One run of the generate stage with the fake engine: `synthesis_pipeline.py FOLDER NUM_DOCUMENTS`.

Shards of drawn texts of about 250 words are written first (not timed); in a folder that has them, the run is resumed
as after a kill right before its manifest. Prints seconds from the first look at the shards to the stage's outcome,
Ray's start left out, and the driver's resident memory.
"""

import json
import random
import sys
import threading
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.models import ResolvedModel
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import make_generation
from rcpt_ray.thoughts.outcome import make_thoughts
from rcpt_ray.thoughts.spec import ThoughtsSpec

SHARD_DOCUMENTS = 512
SPEC = ThoughtsSpec.model_validate(
    {
        "engine": "fake",
        "teacher": {"reference": "none"},
        "sampling": {"max_thought_tokens": 200},
        "pool": {"max_engines": 2, "cpus_per_engine": 1, "shards_in_flight": 2},
    }
)


def main(folder: Path, num_documents: int) -> None:
    shards = _shards(folder / "corpus", num_documents)
    out = folder / "thoughts" / "run"
    out.mkdir(parents=True, exist_ok=True)
    generation = make_generation(SPEC, 17, ResolvedModel("fake", "", "none", "none"))
    with cluster.session():
        cluster.connect(ClusterSpec())
        peak = _Peak()
        started = time.monotonic()
        outcome = make_thoughts(
            generation, shards, num_documents, out, lambda: None, Bar(Console(quiet=True), "thoughts", None)
        )
        seconds = time.monotonic() - started
    assert outcome.counts.num_ok == num_documents
    print(json.dumps({"seconds": seconds, "before_mib": peak.before_mib, "peak_mib": peak.end()}))


def _shards(folder: Path, num_documents: int) -> list[Path]:
    """Shards as the corpus stage writes them; found where they were written before."""
    if folder.exists():
        return sorted(folder.glob("part-train-*.parquet"))
    folder.mkdir(parents=True)
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    sentences = [" ".join(draw.choices(words, k=25)).capitalize() + "." for _ in range(20_000)]
    for start in range(0, num_documents, SHARD_DOCUMENTS):
        rows = [
            {
                "doc_id": f"drawn/{number}",
                "source": "drawn",
                "domain": "stem",
                "text": " ".join(draw.choices(sentences, k=10)),
                "num_words": 250,
            }
            for number in range(start, min(start + SHARD_DOCUMENTS, num_documents))
        ]
        table = pa.Table.from_pylist(rows, schema=documents_schema(rows))
        pq.write_table(table, folder / f"part-train-drawn-{start:09d}.parquet", compression="zstd")
    return sorted(folder.glob("part-train-*.parquet"))


class _Peak:
    """The highest resident memory of this process, looked at ten times a second."""

    def __init__(self) -> None:
        self._process, self._ended = psutil.Process(), threading.Event()
        self.before_mib = self._peak_mib = self._now_mib()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._peak_mib

    def _now_mib(self) -> float:
        return self._process.memory_info().rss / 2**20

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._peak_mib = max(self._peak_mib, self._now_mib())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
