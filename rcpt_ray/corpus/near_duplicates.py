"""Near duplicates: documents that share most of their word n-grams, found by MinHash with banding.

Method: Broder 1997; bands as in Lee et al., arXiv 2107.06499. A signature is H hashes, each the least of a document's
n-grams under one random order, so the share of equal hashes of two documents estimates the Jaccard similarity of their
sets of n-grams (standard error 0.035 at 0.7 with H = 112). Documents that agree in all the hashes of a band meet in a
bucket. The rule, in reading order: **a document is left out if it meets one that stayed, and their signatures agree in
min_similarity of all hashes.** So whatever is left out was compared with what stays for it; a chain of small changes
cannot carry away a document that resembles nothing that stays, as the connected components of similar pairs would.

The result depends on signatures and order alone. Of a bucket at most `MAX_COMPARED` documents that stayed are compared
with, the first ones: a hundred thousand variants of one text cost one comparison each, and only where more than that
many dissimilar documents share a band (forms with the same long passage) can a near duplicate of a later one remain.

Price: signing 10 us a text beside splitting its words; 2 H bytes a document for the signatures (224 with 14 bands of
8), which may lie in a memory map; in memory 4 bytes a band and 40 bytes a document (96 with 14 bands), and 10 us for
each document that meets another. So 10 GB of memory and 22 GB of disk for 100 million documents.
Legend: N documents in reading order, H hashes of a signature.
"""

import math
from array import array

import numpy as np
import numpy.typing as npt

from rcpt_ray.corpus.ngrams import HashedWords, Hashes, ngram_hashes
from rcpt_ray.corpus.spec import NearDuplicatesSpec

MAX_COMPARED = 16
Signatures = npt.NDArray[np.uint16]

_SEED = 1
_BLOCK_ROWS = 1 << 16
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Signer:
    """Makes signatures with rensa's R-MinHash, of which the low 16 bits of each hash are kept.

    Two hashes of different n-grams agree in these bits once in 65,536 times, far below the estimate's own error.
    """

    def __init__(self, spec: NearDuplicatesSpec) -> None:
        self._ngram_words = spec.ngram_words
        self.num_hashes = spec.num_bands * spec.rows_per_band

    def sign(self, words: HashedWords) -> Signatures:
        """uint16[B, H]: a text with fewer words than an n-gram has one n-gram, the whole of it."""
        from rensa import RMinHash

        grams, starts = _grams(words, self._ngram_words)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams, starts, self.num_hashes, _SEED)
        rows = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(words.words), self.num_hashes)
        return rows.astype(np.uint16)


def signature_algorithm() -> str:
    """What signatures depend on beside the settings; equal names mean comparable signatures."""
    from rensa import RMinHash

    return f"rensa-rminhash-{RMinHash.ALGORITHM_VERSION}-seed-{_SEED}-16bit"


def near_duplicates(
    signatures_NH: Signatures, spec: NearDuplicatesSpec, rejected_N: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """For each document the index of the earliest one that stays and that it nearly repeats, or -1 if it stays itself.

    Args:
        signatures_NH: uint16[N, H] of a `Signer` with the same settings, in reading order; may be a numpy memory map.
        rejected_N: bool[N]: documents that are left out already; they keep -1 and nothing is compared with them.
    """
    num_documents, num_hashes = signatures_NH.shape
    assert num_hashes == spec.num_bands * spec.rows_per_band, "signatures of other settings"
    least_equal = math.ceil(spec.min_similarity * num_hashes - 1e-9)
    buckets_NB, num_buckets = _meet(signatures_NH, spec, rejected_N)
    repeats_N = np.full(num_documents, -1, dtype=np.int64)
    stayed_first = array("q", [-1]) * num_buckets
    stayed_later: dict[int, list[int]] = {}
    for document in np.flatnonzero((buckets_NB >= 0).any(axis=1)):
        buckets = [bucket for bucket in buckets_NB[document].tolist() if bucket >= 0]
        stayed = {stayed_first[bucket] for bucket in buckets} - {-1}
        if stayed_later:
            stayed.update(*(stayed_later.get(bucket, ()) for bucket in buckets))
        if stayed:
            earlier = sorted(stayed)
            num_equal = (signatures_NH[earlier] == signatures_NH[document]).sum(axis=1)
            similar = np.flatnonzero(num_equal >= least_equal)
            if len(similar):
                repeats_N[document] = earlier[similar[0]]
                continue
        for bucket in buckets:
            if stayed_first[bucket] < 0:
                stayed_first[bucket] = document
            elif len(later := stayed_later.setdefault(bucket, [])) < MAX_COMPARED - 1:
                later.append(int(document))
    return repeats_N


def _grams(words: HashedWords, ngram_words: int) -> tuple[Hashes, npt.NDArray[np.uint64]]:
    """The n-grams of all texts one after the other, and B + 1 places where a text's begin and the last one's end."""
    num_words = len(words.hashes_W)
    grams_W = np.zeros(num_words, dtype=np.uint64)
    whole = ngram_hashes(words.hashes_W, ngram_words)
    grams_W[: len(whole)] = whole
    taken_W = np.arange(ngram_words, num_words + ngram_words) <= words.ends()
    sizes = np.diff(words.starts)
    for text in np.flatnonzero((sizes < ngram_words) & (sizes > 0)):
        start, end = words.starts[text], words.starts[text + 1]
        grams_W[start] = ngram_hashes(words.hashes_W[start:end], int(end - start))[0]
        taken_W[start] = True
    num_before = np.zeros(num_words + 1, dtype=np.uint64)
    np.cumsum(taken_W, out=num_before[1:])
    return grams_W[taken_W], num_before[words.starts]


def _meet(
    signatures_NH: Signatures, spec: NearDuplicatesSpec, rejected_N: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[np.int32], int]:
    """int32[N, bands]: the bucket of each document in each band, -1 where it is alone there; and how many buckets."""
    num_documents = len(signatures_NH)
    buckets_NB = np.full((num_documents, spec.num_bands), -1, dtype=np.int32)
    taken = np.arange(num_documents) if rejected_N is None else np.flatnonzero(~rejected_N)
    num_buckets = 0
    for band in range(spec.num_bands):
        keys = _band_keys(signatures_NH, band * spec.rows_per_band, spec.rows_per_band)[taken]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        as_before, as_next = np.zeros(len(taken), dtype=bool), np.zeros(len(taken), dtype=bool)
        as_before[1:] = as_next[:-1] = keys[1:] == keys[:-1]
        opens = as_next & ~as_before
        together = as_before | as_next
        number = num_buckets - 1 + np.cumsum(opens[together])
        buckets_NB[taken[order[together]], band] = number
        num_buckets += int(opens.sum())
        assert num_buckets < 1 << 31, "more buckets than int32 counts; split the corpus"
    return buckets_NB, num_buckets


def _band_keys(signatures_NH: Signatures, first: int, num_rows: int) -> Hashes:
    """uint64[N]: equal for documents that agree in the hashes of a band; read in blocks to spare a memory map."""
    keys_N = np.zeros(len(signatures_NH), dtype=np.uint64)
    for start in range(0, len(signatures_NH), _BLOCK_ROWS):
        band = signatures_NH[start : start + _BLOCK_ROWS, first : first + num_rows].astype(np.uint64)
        keys = keys_N[start : start + _BLOCK_ROWS]
        for row in range(num_rows):
            keys *= _BASE
            keys += band[:, row]
    return keys_N
