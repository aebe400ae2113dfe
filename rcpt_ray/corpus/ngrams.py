"""Words of texts and their n-grams as 64-bit hashes: what near duplicates and decontamination compare.

A word is a run of letters, digits and underscores (`\\w+`) of the casefolded text, so punctuation, white space and case
do not count; a text without one (a row of dashes) is split at white space instead. An n-gram's hash is a polynomial
over its words' blake2b hashes: the same in every process and on every machine, unlike Python's own `hash`.
Writing without spaces between words (Chinese, Japanese, Thai) yields whole phrases as words, so there copies are found
and small changes weigh more. Price: 60 us a text of 250 words, and at most 20 MB for words seen before.
Legend: B texts, W words of all texts together.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_WORDS = re.compile(r"\w+")
_MAX_REMEMBERED_WORDS = 1 << 17
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class HashedWords:
    """The words of a batch of texts; text b has the hashes `hashes_W[starts[b]:starts[b + 1]]`."""

    words: list[list[str]]
    hashes_W: Hashes
    starts: npt.NDArray[np.int64]

    def ends(self) -> npt.NDArray[np.int64]:
        """int64[W]: for each word, where its text ends."""
        return np.repeat(self.starts[1:], np.diff(self.starts))


def split_words(text: str) -> list[str]:
    """The words of a text in order.

    >>> split_words("He said: “NO way!”")
    ['he', 'said', 'no', 'way']
    """
    folded = text.casefold()
    return _WORDS.findall(folded) or folded.split()


def hash_words(texts: Sequence[str]) -> HashedWords:
    """Split and hash B texts at once; both users of n-grams share the result."""
    words = [split_words(text) for text in texts]
    starts = np.zeros(len(words) + 1, dtype=np.int64)
    np.cumsum([len(of_text) for of_text in words], out=starts[1:])
    hashes_W = np.fromiter(map(_REMEMBERED.__getitem__, chain.from_iterable(words)), np.uint64, count=int(starts[-1]))
    return HashedWords(words, hashes_W, starts)


def ngram_hashes(hashes_W: Hashes, ngram_words: int) -> Hashes:
    """uint64[max(W - n + 1, 0)]: the hash of the n-gram that begins at each word, whatever text its words are from."""
    if len(hashes_W) < ngram_words:
        return np.empty(0, np.uint64)
    return next(grams for length, grams in growing_ngrams(hashes_W, ngram_words) if length == ngram_words)


def growing_ngrams(hashes_W: Hashes, max_words: int) -> Iterator[tuple[int, Hashes]]:
    """For each length 1, 2, ... max_words that fits into W words: the length and its `ngram_hashes`.

    The arrays are overwritten as the next length is made.
    """
    grams = hashes_W.copy()
    for length in range(1, min(max_words, len(hashes_W)) + 1):
        if length > 1:
            grams = grams[:-1]
            grams *= _BASE
            grams += hashes_W[length - 1 :]
        yield length, grams


class _WordHashes(dict[str, int]):
    """Hashes of words seen; forgets all when full, so memory is bounded and the words in use come back at once."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MAX_REMEMBERED_WORDS:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        value = self[word] = int.from_bytes(digest, "little")
        return value


_REMEMBERED = _WordHashes()
