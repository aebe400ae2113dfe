"""Speed and memory of corpora and mixtures, each beside the tools that others use.

    python benchmarks/data.py packing      tokenizing and packing beside the bare tokenizer, TRL, datatrove; padding
    python benchmarks/data.py stages       corpus and mixture at 10,000, 100,000 and 1,000,000 documents: cost, memory
    python benchmarks/data.py duplicates   near duplicates beside datatrove's MinHash: recall, precision, time

Every ratio is made of runs of this one call, medians of `--repeats`, the systems in turn. `packing` reads the real
texts of RCPT_SHARED/data; trl and datatrove[io] must be installed beside the project for the parts that name them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from data_duplicates_corpus import FILE_DOCUMENTS, write_file

from rcpt_ray.corpus.digest import documents_schema
from rcpt_ray.corpus.passages import cut_passages
from rcpt_ray.hardware import describe, versions
from rcpt_ray.models import resolve_model

BENCHMARKS = Path(__file__).parent
SYSTEMS = ("bare", "ours", "ours_pack", "trl", "trl_pack", "datatrove")
SHARD_DOCUMENTS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["packing", "stages", "duplicates"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--row-tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--folder", type=Path, default=None, help="where the corpus of `stages` is kept between calls")
    options, more = parser.parse_known_args()
    print(json.dumps({"hardware": describe(), "versions": versions()}))
    match options.part:
        case "packing":
            _packing(options)
        case "stages":
            _stages(options)
        case "duplicates":
            subprocess.run([sys.executable, str(BENCHMARKS / "data_duplicates.py"), *more], check=True)


def _packing(options: argparse.Namespace) -> None:
    model = resolve_model(options.model).path
    with tempfile.TemporaryDirectory() as folder:
        num_documents = _write_texts(Path(folder))
        print(f"{num_documents:,} documents")
        for row_tokens in options.row_tokens:
            speeds: dict[str, list[float]] = {system: [] for system in options.systems}
            padding: dict[str, float] = {}
            for _ in range(options.repeats):
                for system in speeds:
                    result = _run("data_packing.py", system, folder, model, str(row_tokens))[-1]
                    speeds[system].append(result["tokens"] / result["seconds"])
                    padding[system] = result.get("padding", 0.0)
                    print(row_tokens, system, result, flush=True)
            medians = {system: statistics.median(own) for system, own in speeds.items()}
            for system, speed in medians.items():
                ratio = speed / medians["bare"]
                print(f"| {row_tokens} | {system} | {speed:,.0f} | {ratio:.2f} | {padding[system]:.2%} |")


def _write_texts(folder: Path) -> int:
    """Real texts as passages of about 250 tokens: as shards of documents and as JSON Lines."""
    shared = Path(os.environ.get("RCPT_SHARED", "../shared")) / "data" / "corpus"
    rows = []
    for file in ("law_opinions.parquet", "stem_openstax.parquet"):
        for text in pq.read_table(shared / file)["text"].to_pylist():
            for passage in cut_passages(text, 190, lambda texts: [len(each.split()) for each in texts]):
                row = {"doc_id": f"web/{len(rows)}", "source": "web", "domain": "stem", "text": passage}
                rows.append(row | {"segment_ends": [], "num_words": len(passage.split())})
    (folder / "jsonl").mkdir()
    with (folder / "jsonl" / "texts.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": row["doc_id"], "text": row["text"]}) + "\n" for row in rows)
    for number, first in enumerate(range(0, len(rows), SHARD_DOCUMENTS)):
        shard = rows[first : first + SHARD_DOCUMENTS]
        table = pa.Table.from_pylist(shard, schema=documents_schema(shard))
        pq.write_table(table, folder / f"part-train-{number:06d}.parquet", compression="zstd")
    return len(rows)


def _stages(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        corpus = folder / "corpus"
        _write_corpus(corpus, max(options.documents))
        for num_documents in options.documents:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                for result in _run("data_stages.py", str(corpus), str(num_documents), options.model, out):
                    per_document = 1e6 * result["seconds"] / result["documents"]
                    print(f"{num_documents:,}", f"{per_document:.0f} us a document", result, flush=True)


def _write_corpus(folder: Path, num_documents: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for first in range(0, num_documents, FILE_DOCUMENTS):
        path = folder / f"{first:09d}.jsonl"
        if not path.exists():
            jobs.append((17, first, min(first + FILE_DOCUMENTS, num_documents), str(path)))
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_file, jobs))


def _run(script: str, *arguments: str) -> list[dict[str, float]]:
    """The lines of JSON that a script prints in a process of its own."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    main()
