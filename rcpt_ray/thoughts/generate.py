"""Generate thoughts, shard in, part out: everything but the engine and Ray.

    shard (documents) -> rows (one a document and sample) -> part-<digest>.parquet -> part-<digest>.json, its receipt

Invariants: a part counts only when its receipt names it, and the receipt is written after the part; a part is keyed
by the content of its shard and by the generation (settings, teacher, prompt, seed), so a retry is harmless, a killed
run repeats at most the shards in flight, and a finished part is taken over by any later stage that wants the same.
"""

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import canonical_json, write_atomic, write_table
from rcpt_ray.records import THOUGHT
from rcpt_ray.thoughts.engine import Engine, Request, RowRefused
from rcpt_ray.thoughts.spec import ThoughtsSpec


@dataclass(frozen=True)
class Generation:
    """What every thought of a stage has in common."""

    spec: ThoughtsSpec
    seed: int
    key: str
    model: str
    model_path: str
    model_revision: str
    prompt_id: str


@dataclass(frozen=True)
class Receipt:
    """The proof of a finished part."""

    part: str
    shard: str
    generation: str
    num_ok: int
    rejected: dict[str, int]
    num_prompt_tokens: int
    num_thought_tokens: int
    num_text_tokens: int
    seconds: float


def shard_digest(shard: Path) -> str:
    """16 hex digits over the ids and texts of a shard's documents."""
    content = hashlib.sha256()
    table = pq.read_table(shard, columns=["doc_id", "text"])
    for doc_id, text in zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True):
        content.update(f"{len(doc_id)} {len(text)} {doc_id}{text}".encode("utf-8", "surrogatepass"))
    return content.hexdigest()[:16]


def request_seed(seed: int, doc_id: str, sample_index: int) -> int:
    """The seed of one draw, below 2**31, from names alone."""
    digest = hashlib.blake2b(f"{seed}/{doc_id}/{sample_index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 2**31


async def generate_rows(
    documents: list[dict[str, Any]], engine: Engine, generation: Generation
) -> list[dict[str, Any]]:
    """A row for each document and sample, in their order; what the engine refuses becomes a rejected row."""
    samples = range(generation.spec.sampling.num_samples)
    return list(
        await asyncio.gather(
            *(_generate_row(document, index, engine, generation) for document in documents for index in samples)
        )
    )


async def _generate_row(
    document: dict[str, Any], sample_index: int, engine: Engine, generation: Generation
) -> dict[str, Any]:
    seed = request_seed(generation.seed, document["doc_id"], sample_index)
    row = {name: document[name] for name in ("doc_id", "source", "domain", "text")} | {
        "sample_index": sample_index,
        "prompt_id": generation.prompt_id,
        "model": generation.model,
        "model_revision": generation.model_revision,
        "seed": seed if engine.seeds_requests else generation.seed,
        "sampling": canonical_json(generation.spec.sampling.defining()),
        "attempts": 1,
    }
    try:
        completion = await engine.complete(Request(document["doc_id"], sample_index, document["text"], seed))
    except RowRefused as refusal:
        return (
            row
            | {"thought": "", "status": "rejected", "reason": str(refusal), "finish_reason": "refused"}
            | dict.fromkeys(("num_text_tokens", "num_prompt_tokens", "num_thought_tokens"), 0)
        )
    row |= asdict(completion)
    empty = not completion.thought
    return row | {"status": "rejected" if empty else "ok", "reason": "empty_thought" if empty else ""}


async def make_part(shard: Path, digest: str, folder: Path, engine: Engine, generation: Generation) -> Receipt:
    """Complete a shard, write its part, then its receipt."""
    started = time.monotonic()
    rows = await generate_rows(pq.read_table(shard).to_pylist(), engine, generation)
    part = folder / f"part-{digest}.parquet"
    write_table(part, pa.Table.from_pylist(rows, schema=THOUGHT))
    receipt = Receipt(
        part=part.name,
        shard=digest,
        generation=generation.key,
        num_ok=sum(row["status"] == "ok" for row in rows),
        rejected=dict(Counter(row["reason"] for row in rows if row["status"] != "ok")),
        num_prompt_tokens=sum(row["num_prompt_tokens"] for row in rows),
        num_thought_tokens=sum(row["num_thought_tokens"] for row in rows),
        num_text_tokens=sum(row["num_text_tokens"] for row in rows),
        seconds=time.monotonic() - started,
    )
    write_atomic(part.with_suffix(".json"), json.dumps(asdict(receipt)))
    return receipt


def read_receipts(folder: Path, generation_key: str) -> dict[str, Receipt]:
    """Receipts of this generation whose parts are there, by shard digest."""
    receipts = {}
    for file in folder.glob("part-*.json"):
        receipt = Receipt(**json.loads(file.read_text(encoding="utf-8")))
        if receipt.generation == generation_key and (folder / receipt.part).exists():
            receipts[receipt.shard] = receipt
    return receipts


def adopt_parts(folder: Path, shards: Iterable[str], generation_key: str) -> dict[str, Receipt]:
    """Receipts that `folder` has for these shards, after taking over finished parts from the folders beside it."""
    wanted, own = set(shards), read_receipts(folder, generation_key)
    for sibling in sorted(folder.parent.iterdir()):
        if sibling == folder or not sibling.is_dir():
            continue
        for shard, receipt in read_receipts(sibling, generation_key).items():
            if shard in wanted and shard not in own:
                _take_over(sibling / receipt.part, folder / receipt.part)
                write_atomic((folder / receipt.part).with_suffix(".json"), json.dumps(asdict(receipt)))
                own[shard] = receipt
    return {shard: receipt for shard, receipt in own.items() if shard in wanted}


def _take_over(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
