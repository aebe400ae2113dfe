"""Time from demand to the first engine, and nodes over time, on a real autoscaler with nodes on this machine.

    python benchmarks/autoscale.py                    three engines of the fake kind, five scale-ups from nothing
    python benchmarks/autoscale.py --engine vllm      real engines of a tiny model; each node has one CPU

Each scale-up is one `rcpt synthesize` on the cluster of the tests (tests/autoscaling_cluster.py): nodes are processes,
so the time of a cloud to rent and boot a machine is not in it. What is: Ray's autoscaler, a node's start, the actor's,
the engine's. The autoscaler looks once a second here, every five seconds where nothing is set.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from autoscaling_cluster import Cluster, NodesOverTime, autoscaling_cluster  # noqa: E402
from run_folder import manifests, only_folder  # noqa: E402
from synthesis_runs import synthesis_of, write_corpus  # noqa: E402

from rcpt_ray.hardware import describe, versions  # noqa: E402
from rcpt_ray.thoughts.meter import read_meters  # noqa: E402
from rcpt_ray.thoughts.progress import read_progress  # noqa: E402

_LOOK_EVERY_S = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["fake", "vllm"], default="fake")
    parser.add_argument("--engines", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--idle-s", type=float, default=6.0)
    options = parser.parse_args()
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "corpus.jsonl", options.documents)
        with autoscaling_cluster(folder, options.engines, idle_s=options.idle_s) as cluster:
            times = [_scale_up(cluster, folder, f"run-{number}", options) for number in range(options.repeats)]
    for what in times[0]:
        values = [one[what] for one in times]
        print(f"{what}: median {statistics.median(values):.1f} s, {min(values):.1f} to {max(values):.1f}")


def _scale_up(cluster: Cluster, folder: Path, name: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds from the demand on, and back to nothing after the command."""
    run = folder / name
    pool = {"max_engines": options.engines, "gpus_per_engine": 1, "shards_in_flight": 2}
    arguments = synthesis_of(
        run,
        folder / "corpus.jsonl",
        "corpus.shard_documents=4",
        f"thoughts.engine={options.engine}",
        "thoughts.fake.delay_s=1.0",
        "thoughts.select.min_thought_tokens=0",
        f"thoughts.pool={pool}",
        f"cluster.address={cluster.address}",
        "cluster.autoscales=true",
    )
    nodes = NodesOverTime(cluster)
    nodes.look()
    command = [sys.executable, "-m", "rcpt_ray", "synthesize", *arguments]
    with (folder / f"{name}.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | cluster.environment, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            nodes.look()
            time.sleep(_LOOK_EVERY_S)
    ended_s = time.time()
    if process.returncode:
        raise SystemExit((folder / f"{name}.log").read_text())
    while nodes.look():
        time.sleep(_LOOK_EVERY_S)
    made = only_folder(run, "thoughts")
    progress, (manifest,) = read_progress(made), manifests(run, "thoughts")
    assert progress is not None
    ready = sorted(engine.ready_s for engine in read_meters(made) if engine.ready_s is not None)
    up = {number: seen_s for seen_s, number in reversed(nodes.seen) if number}
    print(
        f"{name}: {', '.join(f'{number} at {seen_s - progress.started_s:.1f} s' for seen_s, number in nodes.seen[1:])}"
    )
    return {
        "first node": up[1] - progress.started_s if 1 in up else min(up.values()) - progress.started_s,
        "last node": up[options.engines] - progress.started_s,
        "first engine": manifest.details["first_engine_s"],
        "last engine": ready[-1] - progress.started_s,
        "from the end of the command to no node": nodes.seen[-1][0] - ended_s,
    }


if __name__ == "__main__":
    main()
