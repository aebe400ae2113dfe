"""Rows of thoughts from requests, whatever the engine and wherever it runs.

One row a document and sample, in their order. A request that the engine refuses becomes a rejected row with its
reason; an engine that dies ends all rows in flight, and nothing of them is kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rcpt_ray.artifacts import canonical_json, fingerprint
from rcpt_ray.models import ResolvedModel
from rcpt_ray.thoughts.engine import Engine, Request, RowRefused
from rcpt_ray.thoughts.gather import gather_or_cancel
from rcpt_ray.thoughts.prompt import load_prompt
from rcpt_ray.thoughts.spec import GENERATE_VERSION, ThoughtsSpec

Row = dict[str, Any]
_REFUSED = dict.fromkeys(("num_text_tokens", "num_prompt_tokens", "num_thought_tokens"), 0) | {
    "thought": "",
    "status": "rejected",
    "finish_reason": "refused",
    "thought_logprob": None,
}


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
    prompt_digest: str

    def with_spec(self, spec: ThoughtsSpec) -> "Generation":
        """The same with settings that do not define results changed."""
        return replace(self, spec=spec)

    @cached_property
    def common(self) -> Row:
        """Columns that all rows share."""
        return {
            "prompt_id": self.prompt_id,
            "prompt_digest": self.prompt_digest,
            "model": self.model,
            "model_revision": self.model_revision,
            "sampling": canonical_json(self.spec.sampling.defining()),
        }


def make_generation(spec: ThoughtsSpec, seed: int, teacher: ResolvedModel) -> Generation:
    """What a stage's thoughts have in common; its key covers what defines them, the documents left out."""
    prompt = load_prompt(spec.prompt)
    settings = spec.defining() | {"seed": seed}
    made_by = {"teacher": teacher.checksum, "prompt": prompt.digest}
    return Generation(
        spec=spec,
        seed=seed,
        key=fingerprint("generate", GENERATE_VERSION, settings, made_by),
        model=teacher.reference,
        model_path=teacher.path,
        model_revision=teacher.revision,
        prompt_id=prompt.prompt_id,
        prompt_digest=prompt.digest,
    )


@dataclass(frozen=True)
class Wanted:
    """One thought to generate: its document, and how often it was tried by earlier commands and rejected."""

    document: Row
    sample_index: int
    num_rejected: int = 0


def wanted_of(documents: Sequence[Row], num_samples: int) -> list[Wanted]:
    """All samples of all documents, in their order."""
    return [Wanted(document, index) for document in documents for index in range(num_samples)]


def wanted_again(rows: Sequence[Row]) -> list[Wanted]:
    """The rejected ones among generated rows."""
    return [Wanted(row, row["sample_index"], row["attempts"]) for row in rows if row["status"] != "ok"]


def request_seed(seed: int, doc_id: str, sample_index: int, num_rejected: int = 0) -> int:
    """The seed of one draw, below 2**31, from names alone; a draw that was rejected is not drawn again."""
    name = f"{seed}/{doc_id}/{sample_index}" + (f"/{num_rejected}" if num_rejected else "")
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 2**31


async def generate_rows(
    wanted: Sequence[Wanted],
    engine: Engine,
    generation: Generation,
    num_deaths: int = 0,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """A row for each wanted thought, in order; `num_deaths` engines died of these before.

    Raises:
        EngineDied: the rows in flight are given up.
    """
    return await gather_or_cancel(_generate_row(one, engine, generation, num_deaths, on_row) for one in wanted)


def rejected_row(wanted: Wanted, engine: Engine, generation: Generation, attempts: int, reason: str) -> Row:
    """The row of a thought that there is not."""
    return _row(wanted, engine, generation, attempts) | _REFUSED | {"reason": reason}


async def _generate_row(
    wanted: Wanted, engine: Engine, generation: Generation, num_deaths: int, on_row: Callable[[Row], None] | None
) -> Row:
    document, attempts = wanted.document, 1 + wanted.num_rejected + num_deaths
    seed = _seed(wanted, generation)
    try:
        completion = await engine.complete(Request(document["doc_id"], wanted.sample_index, document["text"], seed))
    except RowRefused as refusal:
        row = rejected_row(wanted, engine, generation, attempts, str(refusal))
    else:
        row = _row(wanted, engine, generation, attempts) | vars(completion)
        empty = not completion.thought
        row |= {"status": "rejected" if empty else "ok", "reason": "empty_thought" if empty else ""}
    if on_row is not None:
        on_row(row)
    return row


def _seed(wanted: Wanted, generation: Generation) -> int:
    return request_seed(generation.seed, wanted.document["doc_id"], wanted.sample_index, wanted.num_rejected)


def _row(wanted: Wanted, engine: Engine, generation: Generation, attempts: int) -> Row:
    seeds = {"request": _seed(wanted, generation), "engine": generation.seed, "none": None}
    columns = {name: wanted.document[name] for name in ("doc_id", "source", "domain", "text")}
    own = {"sample_index": wanted.sample_index, "seed": seeds[engine.seeds], "attempts": attempts}
    return columns | generation.common | own
