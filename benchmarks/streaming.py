"""Training on a stream of thoughts against synthesis, then training: `streaming.py FOLDER [setting=value ...]`.

Prints wall times. Both are the same recipe from the same prepared corpus, one after the other in one call, each with an
empty run folder; the time is that of the whole command, with Ray's, the engine's and the workers' start. The engine is
the fake one with a time for each token, as an engine on a GPU of its own has, so two CPUs are enough for both pools;
settings of the recipe may be changed, for example for a real engine:

    python benchmarks/streaming.py FOLDER
    python benchmarks/streaming.py FOLDER thoughts.engine=vllm student.reference=smollm2-135m-instruct
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Manifest, read_manifest

PROJECT = Path(__file__).parent.parent
NUM_DOCUMENTS = 240
SETTINGS = [
    "thoughts.engine=fake",
    "thoughts.sampling.max_thought_tokens=200",
    "thoughts.fake.delay_per_token_s=0.02",
    "corpus.heldout_share=0",
    "corpus.near_duplicates=null",
    "corpus.shard_documents=5",
    "mixture.weights=null",
    "training.checkpoint_every_steps=1000",
    "cluster.num_cpus=2",
]


def main(folder: Path, changed: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_corpus(folder / "drawn.jsonl")
    source = f"corpus.sources={{drawn: {{path: {folder / 'drawn.jsonl'}, domain: stem}}}}"
    seconds: dict[str, float] = {}
    for feed in ("packed", "stream"):
        run = folder / f"{feed}-{int(time.time())}"
        arguments = ["jobs/recipes/stream.yaml", f"run={run}", source, *SETTINGS, *changed, f"training.feed={feed}"]
        _rcpt("prepare", *arguments)
        started = time.monotonic()
        _rcpt("train", *arguments)
        seconds[feed] = time.monotonic() - started
        print(json.dumps({"feed": feed, "wall_s": round(seconds[feed], 1)} | _figures(run)), flush=True)
    print(f"stream / synthesis then training: {seconds['stream'] / seconds['packed']:.2f} of the wall time")


def _figures(run: Path) -> dict[str, Any]:
    manifests = {stage: _manifest(run, stage) for stage in ("thoughts", "mixture", "training")}
    training = manifests["training"]
    assert training is not None
    details = {name: training.details.get(name) for name in ("num_steps", "thoughts_at_first_step", "thoughts_at_end")}
    return {f"{stage}_s": round(manifest.seconds, 1) for stage, manifest in manifests.items() if manifest} | details


def _manifest(run: Path, stage: str) -> Manifest | None:
    return next((manifest for folder in run.glob(f"{stage}/*") if (manifest := read_manifest(folder))), None)


def _rcpt(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "rcpt_ray", *arguments], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)


def _write_corpus(file: Path) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(2000)]
    with file.open("w", encoding="utf-8") as lines:
        for number in range(NUM_DOCUMENTS):
            lines.write(json.dumps({"id": str(number), "text": " ".join(draw.choices(words, k=150))}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
