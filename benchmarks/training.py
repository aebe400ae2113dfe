"""Speed and memory of training beside a bare torch loop and Hugging Face's Trainer, the systems in turn.

    python benchmarks/training.py                      all of it
    python benchmarks/training.py --parts bare --row-tokens 512 --repeats 1

    bare         one worker of two threads beside a bare torch loop on the same rows with the same attention
    attention    the bare loop with transformers' masks over whole rows (the better of eager and sdpa)
    trainer      the same beside the Trainer with DeepSpeed: packed, and unpacked as it is by default; peak memory
    workers      two workers of one thread beside one of two
    checkpoint   the pause of a checkpoint, as a share of the time of 100 steps

Every ratio is made of runs of this one call, medians of `--repeats`. Rows are the package's samples, packed by the
mixture's own code; a run is a process of its own, and its first step is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.hardware import describe, versions
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.models import resolve_model
from rcpt_ray.records import BOS_EOS, TEXT
from rcpt_ray.tiny_model import training_texts

BENCHMARKS = Path(__file__).parent
PARTS = ("bare", "attention", "trainer", "workers", "checkpoint")
STEPS = {512: 2, 2048: 1}
"""Timed steps of 8 rows each."""
_MOST_DOCUMENTS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--corpus", type=Path, help="a Parquet file with a column text; the package's samples else")
    parser.add_argument("--row-tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--steps", type=int, default=None, help="timed steps a run")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2, help="of one worker; two workers have half of them each")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: with one thread, on a busy machine"
    )
    parser.add_argument("--settings", default="{}", help="more settings of training for ours, as JSON")
    options = parser.parse_args()
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    model = str(resolve_model(options.model).path)
    table = ["| T | system | tokens/s, runs | median | ours / it | peak MiB | bar |", "|---|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for row_tokens in options.row_tokens:
            write_corpus(folder, model, row_tokens, options.corpus)
            table += _compare(options, folder, model, row_tokens)
    print("\n".join(table))


def _compare(options: argparse.Namespace, folder: Path, model: str, row_tokens: int) -> list[str]:
    """All systems in turn, `--repeats` times; the lines of the table."""
    timed = options.steps or STEPS.get(row_tokens, 1)
    common = [f"--row-tokens={row_tokens}", f"--precision={options.precision}", f"--clock={options.clock}"]
    common.append(f"--threads={options.threads}")
    ours = [f"--settings={options.settings}"]
    systems: dict[str, tuple[str, list[str], str]] = {"ours": ("ours", [*ours, f"--steps={timed}"], "")}
    if "bare" in options.parts:
        systems["bare torch loop"] = ("bare", [f"--steps={timed}"], ">= 0.97")
    if "attention" in options.parts:
        masks = "eager" if row_tokens <= 512 else "sdpa"
        systems[f"bare torch loop, {masks} over whole rows"] = (
            "bare",
            [f"--attention={masks}", f"--steps={timed}"],
            "",
        )
    if "workers" in options.parts and row_tokens == min(options.row_tokens):
        two = ["--workers=2", f"--threads={options.threads // 2}", f"--steps={timed}"]
        systems["ours, two workers of one thread"] = ("ours", [*ours, *two], "printed")
    if "trainer" in options.parts and row_tokens == min(options.row_tokens):
        systems["Trainer + DeepSpeed, packed"] = ("packed", [f"--steps={timed}"], ">= 1.0")
        systems["Trainer + DeepSpeed, unpacked"] = ("unpacked", [f"--steps={2 * timed}"], ">= 1.5")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    for _ in range(options.repeats):
        for name, (system, arguments, _bar) in systems.items():
            found[name].append(run_system(system, folder, model, *common, *arguments))
            print(row_tokens, name, found[name][-1], flush=True)
    own = statistics.median(run["tokens_per_s"] for run in found["ours"])
    lines = []
    for name, (_system, _arguments, bar) in systems.items():
        speeds, peak = [run["tokens_per_s"] for run in found[name]], max(run["peak_mib"] for run in found[name])
        median = statistics.median(speeds)
        lines.append(
            f"| {row_tokens} | {name} | {', '.join(f'{speed:,.0f}' for speed in speeds)} | {median:,.0f} "
            f"| {own / median:.2f} | {peak:,.0f} | {bar} |"
        )
    lines.append(_overhead(row_tokens, found["ours"], "of one worker"))
    two_workers = found.get("ours, two workers of one thread")
    if two_workers:
        lines.append(_overhead(row_tokens, two_workers, "of two workers"))
    if "checkpoint" in options.parts and row_tokens == min(options.row_tokens):
        settings = json.loads(options.settings) | {"checkpoint_every_steps": 2}
        arguments = [f"--settings={json.dumps(settings)}", "--steps=5"]
        lines.append(_checkpoint_pause(run_system("ours", folder, model, *common, *arguments), row_tokens))
    return lines


def _overhead(row_tokens: int, runs: list[dict[str, Any]], whose: str) -> str:
    shares = [
        1 - engine_s / step_s
        for run in runs
        for engine_s, step_s in zip(run["in_engine_s"], run["seconds"], strict=True)
    ]
    return (
        f"| {row_tokens} | feed, metrics and report {whose} | | {statistics.median(shares):.2%} of a step | | | < 1% |"
    )


def _checkpoint_pause(run: dict[str, Any], row_tokens: int) -> str:
    """A checkpoint is taken after every second step, so the steps 3 and 5 begin with one."""
    outside = [step_s - engine_s for engine_s, step_s in zip(run["in_engine_s"], run["seconds"], strict=True)]
    pause = statistics.median(outside[1::2]) - statistics.median(outside[::2])
    share = pause / (100 * statistics.median(run["in_engine_s"]))
    return f"| {row_tokens} | a checkpoint's pause | | {pause:.1f} s, {share:.2%} of 100 steps | | | < 5% |"


def write_corpus(folder: Path, model: str, row_tokens: int, corpus: Path | None = None) -> None:
    """The corpus (else the samples) as packed rows, rows-T.parquet, and as lists of tokens, documents.json."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    texts = pq.read_table(corpus)["text"].to_pylist()[:_MOST_DOCUMENTS] if corpus else list(training_texts())
    texts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    most = row_tokens - 2
    ids = [
        [tokenizer.bos_token_id, *text[start : start + most], tokenizer.eos_token_id]
        for text in texts
        for start in range(0, len(text), most)
    ]
    kinds = [np.pad(np.full(len(document) - 2, TEXT, np.int8), 1, constant_values=BOS_EOS) for document in ids]
    starts = np.append(0, np.cumsum([len(document) for document in ids])).astype(np.int64)
    documents = Documents(
        [f"sample/{number}" for number in range(len(ids))],
        np.concatenate(ids).astype(np.int32),
        np.concatenate(kinds),
        starts,
    )
    rows = pa.concat_tables(pack(documents, row_tokens, padding_id=tokenizer.eos_token_id, seed=[17]))
    pq.write_table(rows, folder / f"rows-{row_tokens}.parquet")
    (folder / "documents.json").write_text(json.dumps([[int(token) for token in document] for document in ids]))


def run_system(system: str, folder: Path, model: str, *arguments: str) -> dict[str, Any]:
    """The last line of JSON that a system prints in a process of its own."""
    script = str(BENCHMARKS / "training_systems.py")
    ran = subprocess.run(
        [sys.executable, script, system, str(folder), model, *arguments], capture_output=True, text=True
    )
    if ran.returncode:
        raise SystemExit(f"{system} ended with {ran.returncode}: {ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads([line for line in ran.stdout.splitlines() if line.startswith("{")][-1])
    return found


if __name__ == "__main__":
    main()
