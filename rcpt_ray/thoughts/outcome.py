"""The generate stage around the engines: what is there, what is missing, and what goes into the manifest."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rcpt_ray.artifacts import Counts, Outcome
from rcpt_ray.errors import UserError
from rcpt_ray.terminal import Bar
from rcpt_ray.thoughts.generate import Generation, Receipt, adopt_parts, shard_digest


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
        UserError: more than `max_rejected_share` of the rows were rejected by the engine.
    """
    by_digest = {shard_digest(shard): shard for shard in shards}
    receipts: dict[str, Receipt] = {}
    bar.total(num_documents * generation.spec.sampling.num_samples)

    def on_receipt(receipt: Receipt) -> None:
        receipts[receipt.shard] = receipt
        bar.advance(receipt.num_ok + sum(receipt.rejected.values()))

    for receipt in adopt_parts(folder, by_digest, generation.key).values():
        on_receipt(receipt)
    missing = {digest: shard for digest, shard in by_digest.items() if digest not in receipts}
    throughput = {}
    if missing:
        bar.note("engines start")
        connect()
        from rcpt_ray.thoughts.on_ray import generate_on_ray

        bar.note(f"{len(missing)} of {len(by_digest)} shards to do")
        started = time.monotonic()
        generate_on_ray(missing, folder, generation, on_receipt)
        num_new = sum(receipts[digest].num_thought_tokens for digest in missing)
        throughput["tokens_per_s"] = num_new / (time.monotonic() - started)
    outcome = _outcome(list(receipts.values()), throughput)
    _refuse_too_many_rejected(outcome.counts, generation.spec.max_rejected_share, folder)
    return outcome


def _outcome(receipts: Sequence[Receipt], throughput: dict[str, float]) -> Outcome:
    rejected: Counter[str] = Counter()
    for receipt in receipts:
        rejected.update(receipt.rejected)
    num_ok = sum(receipt.num_ok for receipt in receipts)
    return Outcome(
        counts=Counts.of("doc_id with sample_index", num_ok, rejected),
        tokens={
            "prompt": sum(receipt.num_prompt_tokens for receipt in receipts),
            "text": sum(receipt.num_text_tokens for receipt in receipts),
            "thought": sum(receipt.num_thought_tokens for receipt in receipts),
        },
        throughput=throughput,
    )


def _refuse_too_many_rejected(counts: Counts, limit: float, folder: Path) -> None:
    num_rejected = counts.num_in - counts.num_ok
    if num_rejected > limit * counts.num_in:
        raise UserError(
            f"thoughts.max_rejected_share={limit:g}: the engine rejected {num_rejected} of {counts.num_in} thoughts "
            f"({counts.rejected}); mend the corpus or raise the share (the parts stay in {folder})"
        )
