"""What a corpus of so many documents takes: engine tokens/s, GPU-hours, cost, storage, the driver's memory.

Arithmetic on measured figures and stated assumptions; runs in a second and starts nothing. Measured
(benchmarks/README.md, and what stands beside a figure below): bytes of storage and of the driver's memory a document.
Assumed, because no GPU has been at hand: tokens/s of an engine and of a worker, and prices; each is an option.
GPU-hours are tokens / (tokens/s of one GPU) / 3600, whatever the number of GPUs.

    python benchmarks/capacity.py
    python benchmarks/capacity.py --documents 5000000 --engine-tokens-per-s 2500 --synthesis-price 2.0
"""

import argparse
from dataclasses import dataclass

_MIB, _TB = 2**20, 1e12
# Parquet as it is written here: 937 court opinions take 1.60 bytes a token of 4.5 characters, 450 chapters of textbooks
# 1.44; 7.3M packed tokens of a vocabulary of 49,000 take 1.54 with kinds, positions and documents.
_TEXT_BYTES_PER_TOKEN = 1.5
# Assumed: a quarter more for a vocabulary of 256,000.
_PACKED_BYTES_PER_TOKEN = 2.0
# Assumed: ids and digests of a row.
_DOCUMENT_BYTES = 150
# Driver's resident memory, benchmarks/README.md: before a document comes, and what each adds at most.
_DRIVER_MIB = {"corpus": 690, "thoughts": 268, "mixture": 782}
_DRIVER_BYTES_A_DOCUMENT = {"corpus": 360, "thoughts": 3, "mixture": 61}
_SHARD_DOCUMENTS = 512


@dataclass(frozen=True)
class Assumed:
    """What the arithmetic is told."""

    text_tokens: float
    """Of a document."""
    thought_tokens: float
    """Written for a document."""
    engine_tokens_per_s: float
    """Thought tokens of one GPU."""
    worker_tokens_per_s: float
    """Trained tokens of one GPU."""
    synthesis_price: float
    """Of a GPU-hour."""
    training_price: float
    days: float
    """In which the thoughts are to be written."""
    num_models: int
    model_gb: float


def rows(num_documents: int, assumed: Assumed) -> dict[str, str]:
    """The lines of the table for so many documents."""
    text, written = num_documents * assumed.text_tokens, num_documents * assumed.thought_tokens
    # Three arms: the texts, thoughts and texts, and the texts repeated to the tokens of these.
    trained = text + 2 * (text + written)
    synthesis_hours = written / assumed.engine_tokens_per_s / 3600
    training_hours = trained / assumed.worker_tokens_per_s / 3600
    cost = synthesis_hours * assumed.synthesis_price + training_hours * assumed.training_price
    engines_rate = written / (assumed.days * 86400)
    corpus_tb = (text * _TEXT_BYTES_PER_TOKEN + num_documents * _DOCUMENT_BYTES) / _TB
    thoughts_tb = (written * _TEXT_BYTES_PER_TOKEN + num_documents * _DOCUMENT_BYTES) / _TB
    mixtures_tb = trained * _PACKED_BYTES_PER_TOKEN / _TB
    models_tb = assumed.num_models * assumed.model_gb * 1e9 / _TB
    return {
        "text tokens": _short(text),
        "thought tokens to write": _short(written),
        "tokens to train on, three arms": _short(trained),
        f"engine tokens/s to write them in {assumed.days:g} days": _short(engines_rate),
        "  GPUs for that": _count(engines_rate / assumed.engine_tokens_per_s),
        "GPU-hours of synthesis": _count(synthesis_hours),
        "GPU-hours of training": _count(training_hours),
        "cost, $": _count(cost),
        "storage: corpus": _size(corpus_tb),
        "storage: thoughts, generated and selected": _size(2 * thoughts_tb),
        "storage: mixtures of three arms": _size(mixtures_tb),
        f"storage: {assumed.num_models} models": _size(models_tb),
        "shards": _count(num_documents / _SHARD_DOCUMENTS),
        **{
            f"driver's memory in {stage}": _memory(base + num_documents * _DRIVER_BYTES_A_DOCUMENT[stage] / _MIB)
            for stage, base in _DRIVER_MIB.items()
        },
    }


def _short(number: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _size(terabytes: float) -> str:
    return f"{terabytes:,.1f} TB" if terabytes >= 1 else f"{terabytes * 1000:,.1f} GB"


def _memory(mib: float) -> str:
    return f"{mib / 1024:,.1f} GiB"


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[300_000, 10_000_000, 1_000_000_000])
    parser.add_argument("--text-tokens", type=float, default=217, help="of a document (paper: 65.1M over 300,000)")
    parser.add_argument("--thought-tokens", type=float, default=270, help="200 words of 1.35 tokens")
    parser.add_argument("--engine-tokens-per-s", type=float, default=1200, help="ASSUMED: a 9B teacher on an L40S")
    parser.add_argument("--worker-tokens-per-s", type=float, default=2300, help="ASSUMED: a 9B student on an L40S")
    parser.add_argument("--synthesis-price", type=float, default=1.12, help="ASSUMED: $ of a spot GPU-hour")
    parser.add_argument("--training-price", type=float, default=3.77, help="ASSUMED: $ of an on-demand GPU-hour")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--num-models", type=int, default=6)
    parser.add_argument("--model-gb", type=float, default=18.5)
    options = vars(parser.parse_args())
    sizes = options.pop("documents")
    columns = [rows(size, Assumed(**options)) for size in sizes]
    print("| documents |", " | ".join(f"{size:,}" for size in sizes), "|")
    print("|---" * (1 + len(sizes)) + "|")
    for label in columns[0]:
        print(f"| {label.strip()} |", " | ".join(column[label] for column in columns), "|")


if __name__ == "__main__":
    main()
