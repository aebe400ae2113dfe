"""The generate stage around the engines: what is there, what is missing, and what goes into the manifest."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import Counts, Outcome, hold, read_manifest, write_atomic
from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.errors import UserError
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Reading, read_meters
from rcpt_ray.thoughts.parts import Receipt, adopt_parts, remove_unnamed
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
    by_digest = {shard_digest(shard): shard for shard in shards}
    num_rows = num_documents * spec.sampling.num_samples
    bar.total(num_rows)
    receipts = adopt_parts(folder, by_digest, generation.key)
    round_ = _round(folder)
    to_do = [
        Shard(digest, str(shard), round_, receipt.part if (receipt := receipts.get(digest)) else None)
        for digest, shard in by_digest.items()
        if digest not in receipts or (receipts[digest].round < round_ and receipts[digest].rejected)
    ]
    found = [receipt for digest, receipt in receipts.items() if digest not in {shard.digest for shard in to_do}]
    num_found = sum(receipt.num_rows for receipt in found)
    bar.advance(num_found)
    if to_do:
        now_s = time.time()
        progress = Progress(session, num_rows, num_found, Prices.of(spec), now_s, now_s)

        def on_receipt(receipt: Receipt) -> None:
            receipts[receipt.shard] = receipt
            progress.add(receipt)
            bar.advance(receipt.num_rows)
            if progress.num_done >= _ENOUGH_ROWS:
                _refuse_too_many_rejected(
                    progress.num_done, _rejected(receipts.values()), spec.max_rejected_share, folder
                )

        bar.note("cluster starts")
        connect()
        from rcpt_ray.thoughts.on_ray import generate_on_ray

        with Ticker(progress, folder, bar):
            generate_on_ray(to_do, folder, generation, session, on_receipt)
    remove_unnamed(folder, receipts.values())
    outcome = _outcome(
        list(receipts.values()), read_meters(folder), session, Prices.of(spec), round_, generation.model_revision
    )
    assert outcome.counts.num_in == num_rows, f"{outcome.counts} are not the rows of {num_documents} documents"
    _refuse_too_many_rejected(outcome.counts.num_in, Counter(outcome.counts.rejected), spec.max_rejected_share, folder)
    return outcome


def begin_retry(folder: Path) -> int:
    """Open a finished stage again, to try its rejected rows once more; returns their number.

    The order makes a kill harmless: with the round written and the manifest still there, the stage is finished as it
    was; without the manifest, any command goes on with the round.
    """
    with hold(folder):
        manifest = read_manifest(folder)
        if manifest is None or not manifest.counts.rejected:
            return 0
        write_atomic(folder / "round.json", json.dumps({"round": int(manifest.details.get("round", 0)) + 1}))
        (folder / "manifest.json").unlink()
        return sum(manifest.counts.rejected.values())


def _round(folder: Path) -> int:
    try:
        return int(json.loads((folder / "round.json").read_text(encoding="utf-8"))["round"])
    except FileNotFoundError:
        return 0


def _rejected(receipts: Any) -> Counter[str]:
    return sum((receipt.rejected for receipt in receipts), Counter())


def _outcome(
    receipts: Sequence[Receipt], readings: Sequence[Reading], session: str, prices: Prices, round_: int, revision: str
) -> Outcome:
    tallies = [tally for receipt in receipts for tally in receipt.tallies]
    sources: dict[str, dict[str, Any]] = {}
    for tally in tallies:
        own = sources.setdefault(tally.source, {"domain": tally.domain} | dict.fromkeys(_FIGURES, 0))
        own["ok"] += tally.num_ok
        own["rejected"] += sum(tally.rejected.values())
        own["text_tokens"] += tally.num_text_tokens
        own["prompt_tokens"] += tally.num_prompt_tokens
        own["thought_tokens"] += tally.num_thought_tokens
    hours = sum(reading.hours for reading in readings)
    prompt = sum(reading.num_prompt_tokens for reading in readings)
    thought = sum(reading.num_thought_tokens for reading in readings)
    own_readings = [reading for reading in readings if reading.session == session and reading.num_thought_tokens]
    throughput = {}
    if own_readings:
        elapsed_s = max(r.seen_s for r in own_readings) - min(r.started_s for r in own_readings)
        tokens = sum(reading.num_thought_tokens for reading in own_readings)
        throughput = {
            "tokens_per_s": tokens / max(elapsed_s, 1e-9),
            "tokens_per_s_per_engine": tokens / max(3600 * sum(r.hours for r in own_readings), 1e-9),
        }
    return Outcome(
        counts=Counts.of("doc_id with sample_index", sum(tally.num_ok for tally in tallies), _rejected(receipts)),
        tokens={
            "prompt": sum(tally.num_prompt_tokens for tally in tallies),
            "text": sum(tally.num_text_tokens for tally in tallies),
            "thought": sum(tally.num_thought_tokens for tally in tallies),
        },
        details={
            "sources": sources,
            "round": round_,
            "model_revision": revision,
            "engine_hours": hours,
            "gpu_hours": hours * prices.gpus_per_engine,
            "prompt_tokens_paid": prompt,
            "thought_tokens_paid": thought,
        },
        throughput=throughput,
        cost=prices.cost(hours, prompt, thought),
    )


_FIGURES = ("ok", "rejected", "text_tokens", "prompt_tokens", "thought_tokens")


def _refuse_too_many_rejected(num_rows: int, rejected: Counter[str], limit: float, folder: Path) -> None:
    if rejected.total() > limit * num_rows:
        raise UserError(
            f"thoughts.max_rejected_share={limit:g}: the engine rejected {rejected.total()} of {num_rows} thoughts "
            f"({dict(sorted(rejected.items()))}); mend the corpus or raise the share (the parts stay in {folder})"
        )
