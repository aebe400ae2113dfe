"""A corpus with known duplicates: any document can be made again from the seed and its number alone.

Documents of about 250 words from a Zipf vocabulary. Of each 100, 62 are new, 8 are exact copies of a new one before
them, 20 are copies with words replaced, inserted or deleted at one of six rates, and 10 share one stretch of 50 or 65%
of their words with a document before them and are new otherwise: these are no duplicates. Price: 100 us a document.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

FILE_DOCUMENTS = 5_000
EDIT_RATES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
SHARED_STRETCHES = (0.5, 0.65)
VOCABULARY_WORDS = 50_000


@dataclass(frozen=True)
class Origin:
    """Where a document comes from: a kind, and the number of the new document it was made of (its own if new)."""

    kind: str
    source: int
    rate: float = 0.0


def origin(seed: int, number: int) -> Origin:
    """What document `number` of the corpus is."""
    rng = np.random.default_rng([seed, number, 0])
    draw = rng.random()
    if draw < 0.62 or number == 0:
        return Origin("new", number)
    source = int(rng.integers(number))
    while source and np.random.default_rng([seed, source, 0]).random() >= 0.62:
        source = int(rng.integers(source))
    if draw < 0.70:
        return Origin("copy", source)
    if draw < 0.90:
        return Origin("edited", source, float(rng.choice(EDIT_RATES)))
    return Origin("shared stretch", source, float(rng.choice(SHARED_STRETCHES)))


def document_words(seed: int, number: int) -> list[str]:
    """The words of document `number`."""
    made = origin(seed, number)
    if made.kind == "new":
        return _new_words(np.random.default_rng([seed, number, 1]))
    source = _new_words(np.random.default_rng([seed, made.source, 1]))
    rng = np.random.default_rng([seed, number, 1])
    if made.kind == "copy":
        return source
    if made.kind == "edited":
        return _edited(source, made.rate, rng)
    length = round(len(source) * made.rate)
    begin = int(rng.integers(len(source) - length + 1))
    fresh = _new_words(rng, len(source) - length)
    return [*fresh[:begin], *source[begin : begin + length], *fresh[begin:]]


def jaccard(first: list[str], second: list[str], ngram_words: int = 5) -> float:
    """Exact Jaccard similarity of two documents' sets of n-grams."""
    a, b = (set(zip(*(words[shift:] for shift in range(ngram_words)), strict=False)) for words in (first, second))
    return len(a & b) / len(a | b)


def write_file(job: tuple[int, int, int, str]) -> str:
    """Write documents first..last - 1 of a seed as JSON Lines; job is (seed, first, last, path)."""
    seed, first, last, path = job
    with Path(path).open("w", encoding="utf-8") as lines:
        for number in range(first, last):
            text = " ".join(document_words(seed, number))
            lines.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return path


def _new_words(rng: np.random.Generator, length: int | None = None) -> list[str]:
    vocabulary, cumulative = _vocabulary()
    length = int(np.clip(rng.normal(250, 50), 100, 400)) if length is None else length
    return [vocabulary[rank] for rank in np.searchsorted(cumulative, rng.random(length)).tolist()]


def _edited(words: list[str], rate: float, rng: np.random.Generator) -> list[str]:
    """Words with each one replaced, deleted, or followed by a new one, at `rate` in all."""
    edited: list[str] = []
    for word, draw in zip(words, rng.random(len(words)).tolist(), strict=True):
        if draw >= rate:
            edited.append(word)
        elif draw < rate / 3:
            edited += _new_words(rng, 1)
        elif draw < 2 * rate / 3:
            edited += [word, *_new_words(rng, 1)]
    return edited


@cache
def _vocabulary() -> tuple[list[str], np.ndarray]:
    """Words of random letters and the cumulative probability of each, by Zipf and Mandelbrot's law."""
    rng = np.random.default_rng(0)
    letters = rng.integers(97, 123, size=(VOCABULARY_WORDS, 10)).astype(np.uint8)
    lengths = rng.integers(2, 11, size=VOCABULARY_WORDS)
    words = [row[:length].tobytes().decode() for row, length in zip(letters, lengths, strict=True)]
    weights = 1.0 / (np.arange(VOCABULARY_WORDS) + 2.7) ** 1.07
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return words, cumulative
