"""Drawn documents of about 250 words, as Parquet files: enough text for the sizes of parts to mean something."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_FILE_DOCUMENTS = 20_000


def draw_documents(folder: Path, number: int) -> Path:
    """A folder of files with at least so many documents; files that are there already stay."""
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    sentences = [" ".join(draw.choices(words, k=25)).capitalize() + "." for _ in range(20_000)]
    for start in range(0, number, _FILE_DOCUMENTS):
        file, own = source / f"drawn-{start:09d}.parquet", random.Random(start)
        if file.exists():
            continue
        rows = range(start, start + _FILE_DOCUMENTS)
        texts = [" ".join(own.choices(sentences, k=10)) for _ in rows]
        pq.write_table(pa.table({"id": [str(row) for row in rows], "text": texts}), file, compression="zstd")
    return source
