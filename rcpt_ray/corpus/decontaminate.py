"""Decontamination: documents and thoughts that hold a piece of a question that the student is evaluated on.

Method: Brown et al., arXiv 2005.14165, appendix C: 13 words in a row in common, case and punctuation aside; a question
of fewer words is looked for whole, one of fewer than `min_words` not at all (it is counted). As there, what many share
is no sign of contamination: an n-gram of more than `MAX_QUESTIONS` questions is a stock phrase and is left out. Of
MMLU's 488,858 n-grams these are 71, most of them from the one instruction that 895 of its questions begin with.
Hashes find, words decide: a hit is never a collision of hashes.

Price: 40 us a text of 250 words beside splitting its words; in memory 16 bytes an n-gram and the questions' words, for
MMLU and GSM8K together some 40 MB. Legend: B texts, W words of all texts together, T texts and G n-grams of the index.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from rcpt_ray.corpus.ngrams import HashedWords, Hashes, growing_ngrams, hash_words
from rcpt_ray.corpus.spec import DecontaminationSpec

MAX_QUESTIONS = 10

_BATCH_TEXTS = 1024
_Places = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Hit:
    """The first n-gram of a text that a question of an evaluation set has too."""

    set_name: str
    item_id: str
    ngram: str


@dataclass(frozen=True)
class SetCounts:
    """What became of a set's questions: those too short and those of stock phrases alone cannot be found."""

    num_items: int
    num_too_short: int
    num_stock_phrases: int


@dataclass(frozen=True)
class EvaluationIndex:
    """The n-grams of evaluation sets; plain arrays and strings, so it travels to workers by pickle."""

    sets: dict[str, SetCounts]
    num_ngrams: int
    num_stock_ngrams: int
    _lengths: frozenset[int]
    _texts_T: list[str]
    _owners_T: list[tuple[str, str]]
    _hashes_G: Hashes
    _texts_G: _Places
    _places_G: _Places
    _sieve: npt.NDArray[np.uint8]

    @classmethod
    def build(cls, items: Iterable[tuple[str, str, str]], spec: DecontaminationSpec) -> "EvaluationIndex":
        """Index (set name, item id, text); several texts with the same name and id belong to one question."""
        numbers: dict[tuple[str, str], int] = {}
        texts_T: list[str] = []
        item_of_text: list[int] = []
        lengths: set[int] = set()
        found: list[tuple[Hashes, _Places, _Places]] = []
        stream = iter(items)
        while batch := list(islice(stream, _BATCH_TEXTS)):
            words = hash_words([text for _, _, text in batch])
            for length, hashes, texts, places in _wanted_ngrams(words, spec):
                lengths.add(length)
                found.append((hashes, texts + np.int32(len(texts_T)), places))
            texts_T += [" ".join(of_text) for of_text in words.words]
            item_of_text += [numbers.setdefault((set_name, item_id), len(numbers)) for set_name, item_id, _ in batch]
        if not found:
            found.append((np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32)))
        hashes, texts, places = (np.concatenate([ngrams[column] for ngrams in found]) for column in range(3))
        items_T = np.array(item_of_text, dtype=np.int64)
        first, is_stock = _group_by_hash(hashes, items_T[texts])
        kept = first[~is_stock]
        owners = list(numbers)
        can_be_found = set(items_T[texts[np.isin(hashes, hashes[kept])]].tolist())
        return cls(
            sets=_count_sets(owners, set(items_T[texts].tolist()), can_be_found),
            num_ngrams=len(kept),
            num_stock_ngrams=int(is_stock.sum()),
            _lengths=frozenset(lengths),
            _texts_T=texts_T,
            _owners_T=[owners[item] for item in item_of_text],
            _hashes_G=hashes[kept],
            _texts_G=texts[kept],
            _places_G=places[kept],
            _sieve=_sieve(hashes[kept]),
        )

    def hits(self, words: HashedWords) -> list[Hit | None]:
        """For each of B texts its first hit, None where it has none."""
        first: dict[int, tuple[int, Hit]] = {}
        for length, place, ngram in self._candidates(words):
            text = int(np.searchsorted(words.starts, place, side="right")) - 1
            if text in first and first[text][0] <= place:
                continue
            begin, source = place - int(words.starts[text]), int(self._texts_G[ngram])
            here = words.words[text][begin : begin + length]
            source_begin = int(self._places_G[ngram])
            if here == self._texts_T[source].split(" ")[source_begin : source_begin + length]:
                first[text] = (place, Hit(*self._owners_T[source], " ".join(here)))
        return [first[text][1] if text in first else None for text in range(len(words.words))]

    def _candidates(self, words: HashedWords) -> Iterator[tuple[int, int, int]]:
        """Length, place among W and number among G of n-grams whose hash is in the index."""
        if not self.num_ngrams:
            return
        ends_W = words.ends()
        for length, grams in growing_ngrams(words.hashes_W, max(self._lengths)):
            if length not in self._lengths:
                continue
            bit = _leading_bits(grams, len(self._sieve))
            maybe = np.flatnonzero(self._sieve[bit >> 3] >> (bit & 7) & 1)
            maybe = maybe[maybe + length <= ends_W[maybe]]
            wanted = grams[maybe]
            ngrams = np.minimum(np.searchsorted(self._hashes_G, wanted), self.num_ngrams - 1)
            equal = self._hashes_G[ngrams] == wanted
            for place, ngram in zip(maybe[equal].tolist(), ngrams[equal].tolist(), strict=True):
                yield length, place, ngram


def _wanted_ngrams(words: HashedWords, spec: DecontaminationSpec) -> Iterator[tuple[int, Hashes, _Places, _Places]]:
    """The n-grams to look for, by length: their hashes, the number of their text, their place in it."""
    sizes = np.diff(words.starts)
    wanted_B = np.where(sizes < spec.min_words, 0, np.minimum(sizes, spec.ngram_words))
    text_W, ends_W = np.repeat(np.arange(len(sizes)), sizes), words.ends()
    for length, grams in growing_ngrams(words.hashes_W, spec.ngram_words):
        begins = np.flatnonzero(wanted_B[text_W[: len(grams)]] == length)
        begins = begins[begins + length <= ends_W[begins]]
        if len(begins):
            texts = text_W[begins]
            yield length, grams[begins], texts.astype(np.int32), (begins - words.starts[texts]).astype(np.int32)


def _group_by_hash(hashes: Hashes, items: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Of n-grams with equal hashes: where the first one of the first item is, and whether it is a stock phrase."""
    order = np.lexsort((items, hashes))
    hashes, items = hashes[order], items[order]
    opens = np.ones(len(order), dtype=bool)
    opens[1:] = hashes[1:] != hashes[:-1]
    new_item = opens.copy()
    new_item[1:] |= items[1:] != items[:-1]
    begins = np.flatnonzero(opens)
    num_items = np.add.reduceat(new_item.astype(np.int64), begins) if len(begins) else np.empty(0, np.int64)
    return order[begins], num_items > MAX_QUESTIONS


def _count_sets(owners: list[tuple[str, str]], long_enough: set[int], can_be_found: set[int]) -> dict[str, SetCounts]:
    num_items = Counter(set_name for set_name, _ in owners)
    num_long = Counter(owners[item][0] for item in long_enough)
    num_found = Counter(owners[item][0] for item in can_be_found)
    return {
        name: SetCounts(number, number - num_long[name], num_long[name] - num_found[name])
        for name, number in num_items.items()
    }


def _sieve(hashes: Hashes) -> npt.NDArray[np.uint8]:
    """A bit for each value of the leading bits, 1 where a hash begins so: for one in 8 to 16 of them.

    It turns most n-grams of a text away from within the processor's cache, before the search in the sorted hashes.
    """
    sieve = np.zeros(1 << max(len(hashes), 32).bit_length(), dtype=np.uint8)
    bit = _leading_bits(hashes, len(sieve))
    np.bitwise_or.at(sieve, bit >> 3, (1 << (bit & 7)).astype(np.uint8))
    return sieve


def _leading_bits(hashes: Hashes, num_bytes: int) -> npt.NDArray[np.int64]:
    return (hashes >> np.uint64(64 - 3 - (num_bytes.bit_length() - 1))).astype(np.int64)
