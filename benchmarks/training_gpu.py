"""Tokens/s and MFU of training on a GPU beside a bare torch loop, for two shapes with random weights.

    python benchmarks/training_gpu.py                               both shapes at T = 4,096 on one GPU
    python benchmarks/training_gpu.py --shapes tiny --gpus 0        a tiny shape on a CPU, to see that it runs

    1b    a dense model of the 1B class (the sizes of Llama 3.2 1B), all parameters
    9b    of the 9B class (those of Gemma 2 9B, with Llama's plain attention and logits), adapters of rank 64

Model FLOPs of a token (PaLM, arXiv 2204.02311, appendix B): 6 per weight in matrix products where all are trained, 4
where only adapters are (weights get no gradient), and 12 (8) x layers x heads x head size x T / 2 for causal attention
over one document a row. MFU is these over the seconds and the card's dense bf16 peak.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from training import run_system

from rcpt_ray.hardware import describe, versions
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import TEXT
from rcpt_ray.tiny_model import make_tiny_llama

SHAPES: dict[str, tuple[dict[str, Any], int | None]] = {
    "tiny": ({"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}, 4),
    "1b": ({"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}, None),
    "9b": ({"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16}, 64),
}
"""Sizes, and the rank of the adapters (None trains all)."""
MORE_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"num_key_value_heads": 1, "head_dim": 32, "vocab_size": 1000},
    "1b": {"num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128_256},
    "9b": {"num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256_000},
}
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165}
"""Dense bf16, from the makers' data sheets; the first whose name occurs in the card's is taken."""
NUM_ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["1b", "9b"], choices=list(SHAPES))
    parser.add_argument("--row-tokens", type=int, default=4096)
    parser.add_argument("--gpus", type=int, choices=[0, 1], default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--peak-tflops", type=float, default=None, help="of the card in bf16, where it is not known")
    parser.add_argument("--settings", default="{}", help="more settings of training, as JSON")
    options = parser.parse_args()
    hardware = describe()
    print(json.dumps({"hardware": hardware, "versions": versions()}))
    peak = options.peak_tflops or next(
        (peak for name, peak in PEAK_TFLOPS.items() if any(name in card for card in hardware["gpus"])), None
    )
    table = ["| shape | T | system | tokens/s, runs | median | MFU | ours / it |", "|---|---|---|---|---|---|---|"]
    for shape in options.shapes:
        with tempfile.TemporaryDirectory() as folder:
            table += _compare(options, Path(folder), shape, peak)
    print("\n".join(table))


def _compare(options: argparse.Namespace, folder: Path, shape: str, peak: float | None) -> list[str]:
    flops = _write_model(folder / "model", shape, options.row_tokens)
    _write_rows(folder, options.row_tokens, MORE_SIZES[shape]["vocab_size"])
    rank = SHAPES[shape][1]
    # Adapters of a large model leave no room for all activations.
    settings = {"gradient_checkpointing": shape == "9b"} | json.loads(options.settings)
    arguments = [f"--row-tokens={options.row_tokens}", f"--steps={options.steps}", f"--gpus={options.gpus}"]
    arguments += ["--precision=bf16", f"--settings={json.dumps(settings)}"] + ([f"--adapter={rank}"] if rank else [])
    speeds: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(options.repeats):
        for system, own in speeds.items():
            found = run_system(system, folder, str(folder / "model"), *arguments)
            own.append(found["tokens_per_s"])
            print(shape, system, found, flush=True)
    medians = {system: statistics.median(own) for system, own in speeds.items()}
    return [
        f"| {shape} | {options.row_tokens} | {system} | {', '.join(f'{speed:,.0f}' for speed in own)} "
        f"| {medians[system]:,.0f} | {f'{medians[system] * flops / peak / 1e12:.1%}' if peak else 'peak unknown'} "
        f"| {medians['ours'] / medians[system]:.2f} |"
        for system, own in speeds.items()
    ]


def _write_model(folder: Path, shape: str, row_tokens: int) -> float:
    """Random weights in bf16; returns the model FLOPs of a token."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tiny_llama(folder)  # for its tokenizer
    sizes, rank = SHAPES[shape]
    config: Any = LlamaConfig(
        **sizes, **MORE_SIZES[shape], max_position_embeddings=row_tokens, tie_word_embeddings=True, dtype="bfloat16"
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    attention = config.num_hidden_layers * config.num_attention_heads * config.head_dim * row_tokens / 2
    return (6 * num_weights + 12 * attention) if rank is None else (4 * num_weights + 8 * attention)


def _write_rows(folder: Path, row_tokens: int, vocabulary: int) -> None:
    """Random tokens, one document a row."""
    num_tokens = NUM_ROWS * row_tokens
    ids = np.random.default_rng(0).integers(4, min(vocabulary, 1000), num_tokens).astype(np.int32)
    starts = np.arange(0, num_tokens + 1, row_tokens).astype(np.int64)
    documents = Documents(
        [f"random/{number}" for number in range(NUM_ROWS)], ids, np.full(num_tokens, TEXT, np.int8), starts
    )
    rows = pa.concat_tables(pack(documents, row_tokens, padding_id=0, seed=[17]))
    pq.write_table(rows, folder / f"rows-{row_tokens}.parquet")


if __name__ == "__main__":
    main()
