"""One run of the corpus and the mixture stage: `data_stages.py CORPUS_FOLDER NUM_DOCUMENTS MODEL OUT`.

The corpus is the first documents of one with known duplicates (data_duplicates_corpus.py), in the folder's JSON Lines
files. Prints, for each stage, seconds and the most resident memory of the driver and of all its processes.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.corpus.prepare import prepare
from rcpt_ray.corpus.spec import TRAIN_PARTS, CorpusSpec
from rcpt_ray.mixture.mix import MixtureInput, mix
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import text_tokenizer
from rcpt_ray.models import resolve_model
from rcpt_ray.spread import Spread
from rcpt_ray.terminal import Bar


def main(corpus: Path, num_documents: int, model: str, out: Path) -> None:
    source = {"path": str(corpus), "domain": "stem", "max_documents": num_documents}
    spec = CorpusSpec.model_validate({"sources": {"web": source}, "heldout_share": 0.01, "languages": None})
    mixture = MixtureSpec(layout="text_only", documents="all", row_tokens=2048)
    bar, spread = Bar(Console(quiet=True), "stage", None), Spread(2, lambda: cluster.connect(ClusterSpec()))
    tokenizer = text_tokenizer(resolve_model(model).path, mixture)
    for name in ("corpus", "mixture"):
        (out / name).mkdir(parents=True)
    with cluster.session():
        cluster.connect(ClusterSpec())
        with Watch() as watch:
            outcome = prepare(spec, 17, out / "corpus", bar, spread)
        report(
            "corpus", watch, documents=outcome.counts.num_in, kept=outcome.counts.num_ok, left=outcome.counts.rejected
        )
        shards = sorted((out / "corpus").glob(TRAIN_PARTS))
        with Watch() as watch:
            given = MixtureInput([(shard_digest(shard), shard) for shard in shards], ["web"], [])
            mixed = mix(given, mixture, None, None, 17, tokenizer, out / "mixture", spread, bar)
        report(
            "mixture", watch, documents=mixed.counts.num_in, tokens=mixed.tokens["all"], rows=mixed.details["num_rows"]
        )


def report(stage: str, watch: "Watch", **figures: Any) -> None:
    print(
        json.dumps(
            {
                "stage": stage,
                "seconds": watch.seconds,
                "before_mib": watch.before_mib,
                "mib": watch.mib,
                "all_mib": watch.all_mib,
            }
            | figures
        )
    )


class Watch:
    """Seconds of a block, and the most resident memory meanwhile: of this process, and with all its children."""

    def __enter__(self) -> "Watch":
        self.mib, self.all_mib, self._ended = 0.0, 0.0, threading.Event()
        self.before_mib = psutil.Process().memory_info().rss / 2**20
        self._started = time.perf_counter()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self._ended.wait(0.2):
            own, others = me.memory_info().rss / 2**20, 0.0
            for child in me.children(recursive=True):
                try:
                    others += child.memory_info().rss / 2**20
                except psutil.Error:
                    continue
            self.mib, self.all_mib = max(self.mib, own), max(self.all_mib, own + others)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
