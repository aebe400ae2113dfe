"""The held-out split: by hash of a document's id, so it is the same whatever else is in the corpus."""

import hashlib


def names_digest(num_bytes: int, *names: object) -> bytes:
    """So many bytes that depend on the names alone, in any process and on any machine."""
    content = "\x1f".join(map(str, names)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=num_bytes).digest()


def unit_hash(*names: object) -> float:
    """A number in [0, 1) that depends on the names alone."""
    return int.from_bytes(names_digest(8, *names), "big") / 2**64


def is_heldout(doc_id: str, share: float, seed: int) -> bool:
    """Whether a document is held out of training; true for about `share` of the ids."""
    return unit_hash("heldout", seed, doc_id) < share
