"""What a sweep itself costs: 12 trials that differ in their mixture alone, after one synthesis.

    python benchmarks/sweep.py                  the random model, thoughts by vLLM, as in README.md
    python benchmarks/sweep.py --engine fake    the same in a few minutes

A trial's overhead is the time from when it is asked for to when its result is read, without the stages that it made and
without waiting for those that another trial made at the time. Thoughts that engines wrote are counted in the engines'
own meters and in the parts of all stages of thoughts in the run folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from rcpt_ray.artifacts import read_manifest
from rcpt_ray.hardware import describe, versions
from rcpt_ray.sweep.result import read_results
from rcpt_ray.thoughts.meter import read_meters

RECIPE = Path(__file__).parents[1] / "jobs/recipes/sweep.yaml"
SPACE = "{mixture.weights: {components: [stem/thought, law/thought, stem/raw, law/raw], step: 0.1}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="vllm", choices=("vllm", "fake"))
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        overrides = [f"run={run}", f"thoughts.engine={options.engine}", "mixture.thought_share=null"]
        overrides += [f"sweep.space={SPACE}", "sweep.searcher=random", "sweep.seeds=[17]", "sweep.add_baselines=false"]
        overrides += [f"sweep.budget.trials={options.trials}", "mixture.num_tokens=8000"]
        began_s = time.monotonic()
        command = [sys.executable, "-m", "rcpt_ray", "sweep", str(RECIPE), *overrides]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall_s = time.monotonic() - began_s
        (trials,) = (run / "trials").iterdir()
        results = read_results(trials)
        synthesized = sorted((run / "thoughts").glob("*"))
        written = sum(pq.read_metadata(part).num_rows for stage in synthesized for part in stage.glob("part-*.parquet"))
        asked = sum(reading.num_rows for stage in synthesized for reading in read_meters(stage))
        assert all(read_manifest(stage) is not None for stage in synthesized)
    overheads = sorted(result.overhead_seconds for result in results)
    paid_by = {
        result.trial.name: sum(use.engine_requests for use in result.stages.values() if use.made_here)
        for result in results
    }
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    print(f"{len(results)} trials, {sum(result.status == 'ok' for result in results)} ok, {wall_s:.0f} s in all")
    print(f"overhead of a trial: median {statistics.median(overheads):.2f} s, most {overheads[-1]:.2f} s (bar 5)")
    print(f"stages made: {statistics.median(result.made_seconds for result in results):.1f} s a trial, median")
    print(
        f"{len(synthesized)} synthesis, {written} thoughts in its parts, {asked} written by engines; by trial {paid_by}"
    )


if __name__ == "__main__":
    main()
