"""The generate stage around the engines: what is there, what is missing, and what goes into the manifest."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Outcome, hold, write_atomic
from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.errors import UserError
from rcpt_ray.spread import side_by_side
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Reading, read_meters
from rcpt_ray.thoughts.parts import Receipt, adopt_parts, read_receipts, remove_unnamed
from rcpt_ray.thoughts.progress import Prices, Progress, Ticker
from rcpt_ray.thoughts.work import Shard

_ENOUGH_ROWS = 200


def make_thoughts(
    generation: Generation,
    shards: Sequence[Path],
    num_documents: int,
    folder: Path,
    connect: Callable[[], None],
    bar: Bar,
) -> Outcome:
    """Parts for all shards in `folder`: taken over where they exist, else generated, after `connect`.

    Raises:
        UserError: the engine cannot start, or more than `max_rejected_share` of the rows were rejected by it.
    """
    spec, session = generation.spec, uuid.uuid4().hex
    by_digest = dict(zip(side_by_side(shard_digest, shards), shards, strict=True))
    num_rows = num_documents * spec.sampling.num_samples
    bar.total(num_rows)
    receipts, to_do = look_for_parts(generation, by_digest, folder)
    not_found = {shard.digest for shard in to_do}
    num_found = sum(receipt.num_rows for digest, receipt in receipts.items() if digest not in not_found)
    bar.advance(num_found)
    waited: dict[str, float | None] = {}
    if to_do:
        now_s = time.time()
        progress = Progress(session, num_rows, num_found, Prices.of(spec), now_s, now_s)
        rejected: Counter[str] = Counter()  # by this command; what was found before is judged at the end

        def on_receipt(receipt: Receipt) -> None:
            receipts[receipt.shard] = receipt
            progress.add(receipt)
            bar.advance(receipt.num_rows)
            rejected.update(receipt.rejected)
            if progress.num_done >= _ENOUGH_ROWS:
                _refuse_too_many_rejected(progress.num_done, rejected, spec.max_rejected_share, folder)

        bar.note("cluster starts")
        connect()
        from rcpt_ray.thoughts.on_ray import generate_on_ray

        with Ticker(progress, folder, bar):
            generate_on_ray(to_do, folder, generation, session, on_receipt)
        waited["first_engine_s"] = progress.first_engine_s(read_meters(folder))
    remove_unnamed(folder, receipts.values())
    outcome = _outcome(list(receipts.values()), read_meters(folder), generation, _round(folder))
    outcome = replace(outcome, details={**outcome.details, **waited})
    assert outcome.counts.num_in == num_rows, f"{outcome.counts} are not the rows of {num_documents} documents"
    _refuse_too_many_rejected(outcome.counts.num_in, Counter(outcome.counts.rejected), spec.max_rejected_share, folder)
    return outcome


def look_for_parts(
    generation: Generation, shards: Mapping[str, Path], folder: Path
) -> tuple[dict[str, Receipt], list[Shard]]:
    """The receipts of shards (by digest), taken over where another folder has them, and what is still to be made."""
    receipts, round_ = adopt_parts(folder, shards, generation.key), _round(folder)
    to_do = [
        Shard(digest, str(shard), round_, receipt.part if (receipt := receipts.get(digest)) else None)
        for digest, shard in shards.items()
        if digest not in receipts or (receipts[digest].round < round_ and receipts[digest].rejected)
    ]
    return receipts, to_do


def begin_retry(folder: Path) -> int:
    """Open a stage's folder again, to try its rejected rows once more; returns their number.

    The order makes a kill harmless: with the round written and the manifest still there, the stage is finished as it
    was; without the manifest, any command goes on with the round.
    """
    if not folder.is_dir():
        return 0
    with hold(folder):
        receipts = list(read_receipts(folder).values())
        num_rejected = _rejected(receipts).total()
        if num_rejected:
            next_round = 1 + max(_round(folder), *(receipt.round for receipt in receipts))
            write_atomic(folder / "round.json", json.dumps({"round": next_round}), durable=True)
            (folder / "manifest.json").unlink(missing_ok=True)
        return num_rejected


def _round(folder: Path) -> int:
    try:
        return int(json.loads((folder / "round.json").read_text(encoding="utf-8"))["round"])
    except FileNotFoundError:
        return 0


def _rejected(receipts: Sequence[Receipt]) -> Counter[str]:
    rejected: Counter[str] = Counter()
    for receipt in receipts:
        rejected.update(receipt.rejected)
    return rejected


def _outcome(receipts: Sequence[Receipt], readings: Sequence[Reading], generation: Generation, round_: int) -> Outcome:
    prices = Prices.of(generation.spec)
    tallies = [tally for receipt in receipts for tally in receipt.tallies]
    sources: dict[str, dict[str, Any]] = {}
    for tally in tallies:
        own = sources.setdefault(tally.source, {"domain": tally.domain} | dict.fromkeys(_FIGURES, 0))
        own["ok"] += tally.num_ok
        own["rejected"] += sum(tally.rejected.values())
        own["text_tokens"] += tally.num_text_tokens
        own["prompt_tokens"] += tally.num_prompt_tokens
        own["thought_tokens"] += tally.num_thought_tokens
        own["rejected_tokens"] += tally.num_rejected_tokens
    hours = sum(reading.hours for reading in readings)
    prompt = sum(reading.num_prompt_tokens for reading in readings)
    thought = sum(reading.num_thought_tokens for reading in readings)
    totals = {name: sum(own[f"{name}_tokens"] for own in sources.values()) for name in _TOKENS}
    return Outcome(
        counts=Counts.of("doc_id with sample_index", sum(tally.num_ok for tally in tallies), _rejected(receipts)),
        tokens=totals,
        details={
            "sources": sources,
            "round": round_,
            "model_revision": generation.model_revision,
            "trust_remote_code": generation.spec.teacher.trust_remote_code,
            "engine_hours": hours,
            "gpu_hours": hours * prices.gpus_per_engine,
            "prompt_tokens_paid": prompt,
            "thought_tokens_paid": thought,
        },
        throughput=_throughput(readings),
        cost=prices.cost(hours, prompt, thought),
    )


def _throughput(readings: Sequence[Reading]) -> dict[str, float]:
    """Thought tokens a second over all commands, from the first engine that was ready to the last sign of life."""
    sessions: dict[str, list[Reading]] = {}
    for reading in readings:
        if reading.ready_s is not None and reading.num_thought_tokens:
            sessions.setdefault(reading.session, []).append(reading)
    if not sessions:
        return {}
    busy = [reading for own in sessions.values() for reading in own]
    tokens = sum(reading.num_thought_tokens for reading in busy)
    elapsed_s = sum(max(r.seen_s for r in own) - min(r.ready_s or r.seen_s for r in own) for own in sessions.values())
    engine_s = sum(reading.seen_s - (reading.ready_s or reading.seen_s) for reading in busy)
    return {"tokens_per_s": tokens / max(elapsed_s, 1e-3), "tokens_per_s_per_engine": tokens / max(engine_s, 1e-3)}


_TOKENS = ("prompt", "text", "thought", "rejected")
_FIGURES = ("ok", "rejected", *(f"{name}_tokens" for name in _TOKENS))


def _refuse_too_many_rejected(num_rows: int, rejected: Counter[str], limit: float, folder: Path) -> None:
    if rejected.total() > limit * num_rows:
        raise UserError(
            f"thoughts.max_rejected_share={limit:g}: the engine rejected {rejected.total()} of {num_rows} thoughts "
            f"({dict(sorted(rejected.items()))}); mend the corpus or raise the share (the parts stay in {folder})"
        )
