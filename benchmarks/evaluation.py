"""Speed of generated answers: our engines beside lm-eval's own vLLM and transformers models, the systems in turn.

    python benchmarks/evaluation.py                                    as in README.md
    python benchmarks/evaluation.py --questions 4 --thought-tokens 8 --repeats 1 --model tiny-random-llama

Every system gets the same requests: four-choice questions, so many greedy tokens each, no stop but the end of text.
`ours, thought and answer` asks the same questions in two steps, so it reads and writes more. Questions are MMLU's where
RCPT_SHARED has them, spread over its subjects, else the package's quiz. A run is a process of its own; its start, up to
the answer to a first request, is timed apart. Tokens are counted in what came back.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rcpt_ray.evaluation.prompts import question_text
from rcpt_ray.evaluation.questions import read_questions
from rcpt_ray.hardware import describe, versions
from rcpt_ray.models import resolve_model

BENCHMARKS = Path(__file__).parent
SHARED = Path(os.environ.get("RCPT_SHARED", BENCHMARKS.parent.parent / "shared"))
SYSTEMS = {
    "ours": "",
    "lm-eval's vLLM": ">= 1.0",
    "lm-eval's transformers": ">= 3",
    "ours, thought and answer": "",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--thought-tokens", type=int, default=64)
    parser.add_argument("--answer-tokens", type=int, default=8, help="of the answer after the thought")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--cpus", type=float, default=2, help="of an engine, and threads of transformers")
    parser.add_argument("--gpus", type=float, default=0, help="of an engine")
    parser.add_argument("--batch-size", type=int, default=32, help="of transformers")
    options = parser.parse_args()
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    model, (source, prompts) = str(resolve_model(options.model).path), _prompts(options.questions)
    print(f"{options.model}, {len(prompts)} questions of {source}, {options.thought_tokens} tokens each")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.systems}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prompts.json"
        file.write_text(json.dumps(prompts), encoding="utf-8")
        for _ in range(options.repeats):
            for name in options.systems:
                found[name].append(_run(name, file, model, options))
                shown = {key: value for key, value in found[name][-1].items() if key != "texts"}
                print(name, shown, flush=True)
    print("\n".join(_table(found)))


def _prompts(number: int) -> tuple[str, list[str]]:
    """Questions spread over a file, each as a model reads it before it thinks."""
    test = SHARED / "data" / "eval" / "mmlu_test.parquet"
    if test.exists():
        source, every = "MMLU", pq.read_table(test).to_pylist()
    else:
        source, every = "the package's quiz", read_questions("quiz", "samples://quiz/test.jsonl")
    chosen = [every[place * len(every) // number] for place in range(number)]
    return source, [f"{question_text(question)}\n<thought>\n" for question in chosen]


def _run(name: str, prompts: Path, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a system prints in a process of its own: seconds, start_s, texts, tokens."""
    settings = {key: value for key, value in vars(options).items() if key not in ("systems", "repeats", "model")}
    ran = subprocess.run(
        [sys.executable, str(BENCHMARKS / "evaluation_systems.py"), name, str(prompts), model, json.dumps(settings)],
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{name} ended with {ran.returncode}: {ran.stderr[-3000:]}")
    result: dict[str, Any] = json.loads([line for line in ran.stdout.splitlines() if line.startswith('{"')][-1])
    result["tokens_per_s"] = round(result["tokens"] / result["seconds"], 1)
    result["questions_per_s"] = round(len(result["texts"]) / result["seconds"], 2)
    return result


def _table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "| system | tokens/s, runs | median | questions/s | ours / it | same texts | start, s | bar |",
        "|---|---|---|---|---|---|---|---|",
    ]
    medians = {name: statistics.median(run["tokens_per_s"] for run in runs) for name, runs in found.items()}
    own = next(iter(found.values()))[0]["texts"]
    for name, runs in found.items():
        same = sum(text == other for text, other in zip(runs[0]["texts"], own, strict=True)) / len(own)
        speeds = ", ".join(f"{run['tokens_per_s']:,.0f}" for run in runs)
        ratio = f"{medians['ours'] / medians[name]:.2f}" if "ours" in medians else ""
        lines.append(
            f"| {name} | {speeds} | {medians[name]:,.0f} "
            f"| {statistics.median(run['questions_per_s'] for run in runs):.2f} | {ratio} "
            f"| {'' if name.endswith('answer') else f'{same:.0%}'} "
            f"| {statistics.median(run['start_s'] for run in runs):.0f} | {SYSTEMS[name]} |"
        )
    return lines


if __name__ == "__main__":
    main()
