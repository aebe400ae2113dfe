"""Sentences of a thought, counted.

A sentence ends at its stops before white space, and at the end of a line; the stop of an abbreviation ends none (the
rule by which passages of the corpus are cut). Small models begin sentences in small letters, so the next letter does
not matter. A stretch without a letter is no sentence: neither the 2. of a list nor a rule of dashes.
"""

from itertools import pairwise

import regex

from rcpt_ray.corpus.passages import is_abbreviation

_STOP = regex.compile(r"(?<![.?!…])[.?!…]++[\"'”’)\]]*+(?=\s)|[。！？]++")


def count_sentences(text: str) -> int:
    """The number of sentences of a thought.

    >>> count_sentences("It falls, cf. Newton. how fast? We need\\n\\n1. the height\\n2. the time, 0.5 s or so.")
    5
    """
    return sum(_count(line) for line in text.splitlines())


def _count(line: str) -> int:
    ends = [found.end() for found in _STOP.finditer(line) if not is_abbreviation(line, found.start())]
    return sum(any(map(str.isalpha, line[begin:end])) for begin, end in pairwise([0, *ends, len(line)]))
