"""Scheduling at scale: `rcpt synthesize` over 64 pretended GPUs on 8 pretended nodes, all on this machine.

    python benchmarks/scheduling.py                 everything, in under 25 minutes alone on 2 cores with 16 GiB free
    python benchmarks/scheduling.py --quick         8 engines, a few thousand documents, about 2 minutes
    python benchmarks/scheduling.py --only pace     one part: pace, memory or limit

The engines are the fake one with a pace (`thoughts.fake.documents_per_s`): 32 documents a second is a GPU that writes
6,400 tokens/s in thoughts of 200. The ideal is engines x pace; everything else is what a real run does: corpus found,
actors placed on nodes, shards read, parts and receipts written, thoughts selected, manifests.

    pace     1,000,000 documents at a real pace: throughput / ideal, start, tail, CPU and memory of driver and cluster
    memory   the driver's peak at 10,000 documents (the others' are there too), and over 10,000 shards of one document
    limit    no pace: what stops first, by the size of a shard

Two cores do the work of 64 engines' Python too, which on a real cluster runs elsewhere: so the limit here is a lower
bound, and the driver's CPU seconds a shard say where its own is.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from scheduling_cluster import pretended_cluster
from scheduling_corpus import draw_documents
from scheduling_watch import Watch, Watched, course_of

from rcpt_ray.artifacts import read_manifest
from rcpt_ray.hardware import describe, versions

PROJECT = Path(__file__).parent.parent
_GPUS_PER_NODE = 8
RECIPE = PROJECT / "jobs" / "recipes" / "tiny.yaml"


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    num_documents: int
    shard_documents: int
    num_engines: int
    documents_per_s: float | None
    """The pace of one engine; None has none."""

    @property
    def ideal_per_s(self) -> float | None:
        """What all engines together could do."""
        return self.documents_per_s * self.num_engines if self.documents_per_s else None


FULL = [
    Case("limit", 100_000, 4096, 16, None),
    Case("limit", 100_000, 512, 16, None),
    Case("limit", 50_000, 64, 16, None),
    Case("memory", 10_000, 512, 16, None),
    Case("memory", 10_000, 1, 16, None),
    Case("pace", 1_000_000, 512, 64, 32.0),
]
QUICK = [Case("limit", 10_000, 64, 8, None), Case("pace", 10_000, 128, 8, 50.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 engines, 10,000 documents")
    parser.add_argument("--only", choices=["pace", "memory", "limit"], help="one part")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each case")
    parser.add_argument("--folder", type=Path, help="where corpora and runs are kept; by default nothing is")
    parser.add_argument("--case", help="one case: DOCUMENTS,SHARD_DOCUMENTS,ENGINES,PACE (0 for none)")
    parser.add_argument(
        "--one-node", action="store_true", help="all on the head: nodes need a machine that is not busy"
    )
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe, key=value")
    options = parser.parse_args()
    # Ended from outside, it still ends its nodes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(json.dumps({"hardware": describe(), "versions": versions(), "load": os.getloadavg()}))
    cases = [case for case in (QUICK if options.quick else FULL) if options.only in (None, case.name)]
    if options.case:
        documents, shard, engines, pace = options.case.split(",")
        cases = [Case("case", int(documents), int(shard), int(engines), float(pace) or None)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        source = draw_documents(folder, max(case.num_documents for case in cases))
        for case in cases:
            corpus = _prepared(case, source, folder)
            for _ in range(options.repeats):
                _measure(case, source, corpus, folder / "run", options.one_node, options.set)


def _settings(case: Case, source: Path, run: Path) -> list[str]:
    pace = "null" if case.documents_per_s is None else f"{case.documents_per_s:g}"
    return [
        str(RECIPE),
        f"run={run}",
        f"corpus.sources={{drawn: {{path: {source}, domain: stem, max_documents: {case.num_documents}}}}}",
        f"corpus.shard_documents={case.shard_documents}",
        # What a corpus is cleaned of has been measured elsewhere; here its shards alone are wanted.
        "corpus.heldout_share=0",
        "corpus.near_duplicates=null",
        "corpus.decontaminate=null",
        "corpus.repair_encoding=false",
        "thoughts.engine=fake",
        f"thoughts.fake.documents_per_s={pace}",
        "thoughts.max_model_tokens=null",
        "thoughts.sampling.max_thought_tokens=266",
        f"thoughts.pool.min_engines={case.num_engines}",
        f"thoughts.pool.max_engines={case.num_engines}",
        "thoughts.pool.gpus_per_engine=1",
        "thoughts.pool.cpus_per_engine=1",
        "thoughts.pool.shards_in_flight=2",
        "thoughts.select.num_workers=2",
    ]


def _prepared(case: Case, source: Path, folder: Path) -> Path:
    """The run folder with the corpus of a case, made once, by this machine alone."""
    run = folder / f"corpus-{case.num_documents}-{case.shard_documents}"
    if not list(run.glob("corpus/*/manifest.json")):
        began_s = time.monotonic()
        _rcpt("prepare", *_settings(case, source, run), "corpus.num_workers=2")
        print(f"corpus of {case.num_documents:,} in {time.monotonic() - began_s:.0f} s", flush=True)
    return run


def _measure(case: Case, source: Path, corpus: Path, run: Path, one_node: bool, more: Sequence[str]) -> None:
    """Run one case on a cluster of its own, print what it took, and remove its run folder."""
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(corpus / "corpus", run / "corpus", copy_function=os.link)
    shutil.copy(corpus / "recipe.json", run / "recipe.json")
    num_nodes = 0 if one_node else -(-case.num_engines // _GPUS_PER_NODE)
    gpus_per_node = case.num_engines if one_node else _GPUS_PER_NODE
    with pretended_cluster(run / "cluster", num_nodes, gpus_per_node) as cluster:
        began_s = time.time()
        with (run / "command.log").open("wb") as log:
            command = [sys.executable, "-m", "rcpt_ray", "synthesize", *_settings(case, source, run), *more]
            process = subprocess.Popen(command, cwd=PROJECT, env=cluster.environment, stdout=log, stderr=log)
            try:
                with Watch(process.pid, cluster.process_ids, run) as seen:
                    process.wait()
            finally:
                process.kill()
    if process.returncode:
        raise SystemExit(f"{case} failed:\n{(run / 'command.log').read_text()[-4000:]}")
    _say(case, run, began_s, time.time(), seen)


def _say(case: Case, run: Path, began_s: float, ended_s: float, seen: Watched) -> None:
    course = course_of(run, began_s, seen.busy)
    (folder,) = (run / "thoughts").iterdir()
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.counts.num_ok == case.num_documents, "documents are missing"
    at_work_s = course.last_part_s - course.first_engine_s
    overall, steady = case.num_documents / at_work_s, course.steady_documents_per_s
    driver_s = _cpu_between(seen, began_s + course.first_engine_s, began_s + course.last_part_s)
    figures: dict[str, Any] = {
        **asdict(case),
        "ideal_per_s": case.ideal_per_s,
        "documents_per_s": overall,
        "steady_per_s": steady,
        "shards_per_s": course.num_parts / at_work_s,
        "share_of_ideal": overall / case.ideal_per_s if case.ideal_per_s else None,
        "steady_share_of_ideal": steady / case.ideal_per_s if case.ideal_per_s and steady else None,
        "first_engine_s": course.first_engine_s,
        "all_engines_s": course.last_engine_s,
        "tail_s": course.last_part_s - course.first_idle_s,
        "last_part_s": course.last_part_s,
        "thoughts_manifest_s": course.manifest_s,
        "command_s": ended_s - began_s,
        "num_parts": course.num_parts,
        "num_engines_up": course.num_engines,
        "driver_cpu_s_at_work": driver_s,
        "driver_cpu_ms_per_shard": 1000 * driver_s / course.num_parts,
        "driver_cpu_ms_per_1000_documents": 1e6 * driver_s / case.num_documents,
        "driver_cores": driver_s / at_work_s,
        "cpu_s": seen.cpu_s,
        "driver_peak_mib": {"rss": seen.driver_peak_rss_mib, "uss": seen.driver_peak_uss_mib},
        "mib_at_most": seen.most_mib,
        "processes_at_most": seen.most_processes,
        "store_peak_mib": seen.store_peak_mib,
        "load": {"mean": sum(seen.load) / max(len(seen.load), 1), "most": max(seen.load, default=0.0)},
        "cpu_share_of_machine": sum(seen.cpu_s.values()) / (ended_s - began_s) / (psutil.cpu_count() or 1),
        "bytes_per_document": {
            stage: sum(file.stat().st_size for file in run.glob(f"{stage}/*/part-*.parquet")) / case.num_documents
            for stage in ("corpus", "thoughts", "select")
        },
    }
    print(json.dumps(_rounded(figures)), flush=True)


def _cpu_between(seen: Watched, begin_s: float, end_s: float) -> float:
    inside = [cpu_s for time_s, cpu_s, _ in seen.driver_course if begin_s <= time_s <= end_s]
    return inside[-1] - inside[0] if inside else 0.0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(own) for name, own in value.items()}
    return round(value, 3 if value < 10 else 1) if isinstance(value, float) else value


def _rcpt(*arguments: str) -> None:
    command = [sys.executable, "-m", "rcpt_ray", *arguments]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")


if __name__ == "__main__":
    main()
