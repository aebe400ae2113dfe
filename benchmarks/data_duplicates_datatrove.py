"""datatrove's MinHash pipeline over JSON Lines files; prints the ids it keeps and its seconds by step as one JSON line.

    python data_duplicates_datatrove.py FOLDER WORK NUM_WORKERS WORDS

Runs in its own process and, where need be, in an environment of its own, so it knows nothing of rcpt_ray. WORDS is
`whitespace` (words between white space, about the work that ours does) or `default` (datatrove's own, by spaCy).
datatrove 0.10.1 hands xxhash strings, which xxhash 4 refuses: the environment needs xxhash<4, and orjson.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
    minhash,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from loguru import logger


class WhitespaceWords:
    """The least work a word tokenizer can do; datatrove's own class of that kind wants spaCy installed."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def main() -> None:
    folder, work, num_workers, words = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    logger.remove()
    num_files = len(list(Path(folder).glob("*.jsonl")))
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
    if words == "whitespace":
        minhash.load_word_tokenizer = lambda language: WhitespaceWords()
    signature = MinhashDedupSignature(str(work / "signatures"), config=config)
    steps = {
        "signatures": ([JsonlReader(folder), signature], num_files),
        "buckets": ([MinhashDedupBuckets(str(work / "signatures"), str(work / "buckets"), config=config)], 14),
        "cluster": ([MinhashDedupCluster(str(work / "buckets"), str(work / "remove"), config=config)], 1),
        "filter": (
            [
                JsonlReader(folder),
                MinhashDedupFilter(str(work / "remove")),
                JsonlWriter(str(work / "kept"), compression=None),
            ],
            num_files,
        ),
    }
    seconds = {}
    for name, (pipeline, num_tasks) in steps.items():
        start = time.perf_counter()
        LocalPipelineExecutor(
            pipeline, tasks=num_tasks, workers=min(num_workers, num_tasks), logging_dir=str(work / "logs" / name)
        ).run()
        seconds[name] = time.perf_counter() - start
    kept = [
        json.loads(line)["id"]
        for file in sorted((work / "kept").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    (work / "kept.json").write_text(json.dumps(kept))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
