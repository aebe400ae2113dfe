"""Speed of synthesis: ours beside bare vLLM and ray.data.llm on the same prompts, and the pipeline's own cost.

    python benchmarks/synthesis.py engine      ours / bare vllm.LLM, ours / ray.data.llm; each system, then again
    python benchmarks/synthesis.py datatrove   ours / datatrove's inference runner; needs --datatrove-python
    python benchmarks/synthesis.py pipeline    documents per second with the fake engine, memory, resume

Every ratio is made of runs of this one call, medians of `--repeats`, with the engine ready. On a GPU machine the same
script runs with the GPU extra: `--gpus 1 --model MODEL --documents 2000`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rcpt_ray.hardware import describe, versions

BENCHMARKS = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["engine", "datatrove", "pipeline"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--documents", type=int, default=64, help="documents of the engine part")
    parser.add_argument("--thought-tokens", type=int, default=128)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--gpus", type=float, default=0.0)
    parser.add_argument("--datatrove-python", default="", help="Python of an environment with datatrove[io]")
    parser.add_argument("--medium", type=int, default=100_000, help="documents of the runs that are timed")
    parser.add_argument("--small", type=int, default=10_000, help="documents of the smaller run of the memory")
    parser.add_argument("--large", type=int, default=1_000_000, help="documents of the larger run of the memory")
    options = parser.parse_args()
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    match options.part:
        case "engine":
            _side_by_side(options, ["ours", "bare", "ray.data.llm"])
        case "datatrove":
            _side_by_side(options, ["ours", "datatrove"])
        case "pipeline":
            _pipeline(options)


def _side_by_side(options: argparse.Namespace, systems: list[str]) -> None:
    """Output tokens a second of each system in turn, as often as asked; the ratios are of medians."""
    shown = ["--model", options.model, "--documents", str(options.documents), "--gpus", str(options.gpus)]
    shown += ["--thought-tokens", str(options.thought_tokens)]
    shown += ["--datatrove-python", options.datatrove_python]
    speeds: dict[str, list[float]] = {system: [] for system in systems}
    for repeat in range(options.repeats):
        for system in speeds:
            result = _in_its_own_process("synthesis_systems.py", system, *shown)
            speeds[system].append(result["tokens"] / result["seconds"])
            print(
                f"{repeat} {system}: {result['tokens']} tokens in {result['seconds']:.1f} s, {speeds[system][-1]:.0f}/s"
            )
    medians = {system: statistics.median(values) for system, values in speeds.items()}
    print(json.dumps({"median_tokens_per_s": {system: round(value, 1) for system, value in medians.items()}}))
    for other in systems[1:]:
        print(f"ours / {other}: {medians['ours'] / medians[other]:.3f}")


def _pipeline(options: argparse.Namespace) -> None:
    """The generate stage with the fake engine over a smaller and a larger corpus, and the larger one resumed."""
    with tempfile.TemporaryDirectory() as folder:
        rates = []
        for repeat in range(options.repeats):
            result = _in_its_own_process("synthesis_pipeline.py", f"{folder}/{repeat}", str(options.medium))
            rates.append(options.medium / result["seconds"])
            print(
                f"{repeat} {options.medium} documents: {result['seconds']:.1f} s, {rates[-1]:,.0f}/s, {_memory(result)}"
            )
        small, large = (
            _in_its_own_process("synthesis_pipeline.py", f"{folder}/{name}", str(number))
            for name, number in (("small", options.small), ("large", options.large))
        )
        print(f"{options.small} documents: {small['seconds']:.1f} s, {_memory(small)}")
        print(f"{options.large} documents: {large['seconds']:.1f} s, {_memory(large)}")
        print(f"documents/s: {statistics.median(rates):,.0f} (median of {options.repeats} runs of {options.medium})")
        grown = large["peak_mib"] - small["peak_mib"]
        print(f"the driver's peak grows by {grown:.0f} MiB from {options.small} to {options.large} documents")
        again = _in_its_own_process("synthesis_pipeline.py", f"{folder}/large", str(options.large))
        print(f"resuming the run of {options.large} without its manifest: {again['seconds']:.1f} s")


def _memory(result: dict[str, float]) -> str:
    return f"driver {result['before_mib']:.0f} MiB before, {result['peak_mib']:.0f} MiB at most"


def _in_its_own_process(script: str, *arguments: str) -> dict[str, float]:
    """The JSON that a script prints last; engines may say something after it."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{ran.stderr[-4000:]}")
    result: dict[str, float] = json.loads([line for line in ran.stdout.splitlines() if line.startswith("{")][-1])
    return result


if __name__ == "__main__":
    main()
