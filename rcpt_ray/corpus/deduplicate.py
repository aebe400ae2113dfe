"""Exact duplicates: texts that are equal after folding white space and case; the first one stays.

Price: 16 bytes of memory a document kept.
"""

import hashlib


class SeenTexts:
    """The texts seen so far, by digest."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def is_new(self, text: str) -> bool:
        """Record a text; False if an equal one was recorded before."""
        folded = " ".join(text.split()).casefold()
        digest = hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._digests:
            return False
        self._digests.add(digest)
        return True
