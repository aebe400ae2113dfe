"""Parts and receipts: a shard's rows on disk, and the proof that they are whole.

    part-<shard>-<content>.parquet   rows (records.THOUGHT)
    part-<shard>.json                the receipt, written after the part that it names

Invariants: a part counts only when its receipt names it; both are keyed by the content of the shard and by the
generation (settings, teacher, prompt, seed), so a retry is harmless and a finished part is taken over by any later
stage that wants the same.
"""

import fnmatch
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rcpt_ray.artifacts import remove_parts, table_bytes, write_atomic
from rcpt_ray.records import THOUGHT
from rcpt_ray.spread import side_by_side


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rows of one source came to."""

    source: str
    domain: str
    num_ok: int
    rejected: dict[str, int]
    num_text_tokens: int
    num_prompt_tokens: int
    num_thought_tokens: int
    num_rejected_tokens: int
    """Thought tokens of rejected rows, which `num_thought_tokens` holds too."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof of a finished part."""

    part: str
    shard: str
    generation: str
    round: int
    """How often the rejected rows of all shards had been tried again when this part was made."""
    tallies: tuple[Tally, ...]
    seconds: float

    @property
    def num_ok(self) -> int:
        """Rows with a thought."""
        return sum(tally.num_ok for tally in self.tallies)

    @property
    def rejected(self) -> Counter[str]:
        """Rejected rows by reason."""
        return sum((Counter(tally.rejected) for tally in self.tallies), Counter())

    @property
    def num_rows(self) -> int:
        """All rows of the part."""
        return self.num_ok + self.rejected.total()

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Receipt":
        """As it was written."""
        values: dict[str, Any] = json.loads(text)
        # A driver keeps a receipt a shard: what they have in common it keeps once.
        tallies = tuple(
            Tally(**tally | {name: sys.intern(tally[name]) for name in ("source", "domain")})
            for tally in values["tallies"]
        )
        return cls(**values | {"tallies": tallies, "generation": sys.intern(values["generation"])})


def write_part(
    folder: Path, shard: str, generation_key: str, round_: int, rows: Sequence[dict[str, Any]], seconds: float
) -> Receipt:
    """Write a shard's rows under a name that their content gives, then the receipt that names them.

    So two engines that were given the same shard cannot spoil each other's part: the last receipt decides.
    """
    content = table_bytes(pa.Table.from_pylist(list(rows), schema=THOUGHT))
    part = folder / f"part-{shard}-{hashlib.sha256(content).hexdigest()[:8]}.parquet"
    write_atomic(part, content, durable=True)
    receipt = Receipt(part.name, shard, generation_key, round_, tally_rows(rows), round(seconds, 3))
    write_atomic(_receipt_file(folder, shard), receipt.to_json(), durable=True)
    return receipt


def tally_rows(rows: Iterable[dict[str, Any]]) -> tuple[Tally, ...]:
    """Counts and tokens by source and domain."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["domain"]), []).append(row)
    return tuple(
        Tally(
            source,
            domain,
            sum(row["status"] == "ok" for row in group),
            dict(Counter(row["reason"] for row in group if row["status"] != "ok")),
            sum(row["num_text_tokens"] for row in group),
            sum(row["num_prompt_tokens"] for row in group),
            sum(row["num_thought_tokens"] for row in group),
            sum(row["num_thought_tokens"] for row in group if row["status"] != "ok"),
        )
        for (source, domain), group in sorted(groups.items())
    )


def read_receipt(folder: Path, shard: str, generation_key: str | None) -> Receipt | None:
    """The receipt of a shard, of this generation unless None, whose part is there; None where none can be read."""
    try:
        text = _receipt_file(folder, shard).read_text(encoding="utf-8")
        if generation_key is not None and json.loads(text)["generation"] != generation_key:
            return None  # perhaps of an earlier version, with other fields
        receipt = Receipt.from_json(text)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return receipt if (folder / receipt.part).exists() else None


def read_receipts(folder: Path, generation_key: str | None = None) -> dict[str, Receipt]:
    """All such receipts of a folder, by shard digest."""
    names = os.listdir(folder) if folder.is_dir() else []
    shards = [Path(name).stem.removeprefix("part-") for name in names if fnmatch.fnmatch(name, "part-*.json")]
    found = side_by_side(lambda shard: read_receipt(folder, shard, generation_key), shards)
    return {shard: receipt for shard, receipt in zip(shards, found, strict=True) if receipt is not None}


def parts_by_shard(folder: Path) -> dict[str, Path]:
    """The part of each shard, by the shard's digest; of generated rows or of what was made of them part by part."""
    return {part.name.split("-")[1]: part for part in folder.glob("part-*.parquet")}


def adopt_parts(folder: Path, shards: Iterable[str], generation_key: str) -> dict[str, Receipt]:
    """Receipts that `folder` has for these shards, after taking over finished parts from the folders beside it.

    Of several folders that have a shard, the one that tried its rejected rows most often gives the part.
    """
    wanted, own = set(shards), read_receipts(folder, generation_key)
    best: dict[str, tuple[Receipt, Path]] = {}
    for sibling in sorted(folder.parent.iterdir()):
        if sibling == folder or wanted <= own.keys() or not sibling.is_dir():
            continue
        for shard, receipt in read_receipts(sibling, generation_key).items():
            if shard in wanted and shard not in own and (shard not in best or receipt.round > best[shard][0].round):
                best[shard] = receipt, sibling
    for shard, (receipt, sibling) in best.items():
        take_over(sibling / receipt.part, folder / receipt.part)
        write_atomic(_receipt_file(folder, shard), receipt.to_json(), durable=True)
        own[shard] = receipt
    return {shard: receipt for shard, receipt in own.items() if shard in wanted}


def remove_unnamed(folder: Path, receipts: Iterable[Receipt]) -> None:
    """Remove parts that no receipt names: those of an earlier round."""
    remove_parts(folder, keep={receipt.part for receipt in receipts})


def _receipt_file(folder: Path, shard: str) -> Path:
    return folder / f"part-{shard}.json"


def take_over(source: Path, target: Path) -> None:
    """Have a file in another place too, linked where the disk can, complete or not at all."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)
