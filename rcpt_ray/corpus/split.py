"""The held-out split: by hash of a document's id, so it is the same whatever else is in the corpus."""

import hashlib


def unit_hash(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone."""
    digest = hashlib.blake2b("\x1f".join(map(str, names)).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_heldout(doc_id: str, share: float, seed: int) -> bool:
    """Whether a document is held out of training; true for about `share` of the ids."""
    return unit_hash("heldout", seed, doc_id) < share
