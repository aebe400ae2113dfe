"""Sentences of a thought, counted by the rule that passages of the corpus are cut by.

A sentence ends at its stop before white space and a capital letter (abbreviations end none), and at the end of a line.
A stretch without a letter is no sentence: neither the 2. of a list nor a rule of dashes.
"""

from itertools import pairwise

from rcpt_ray.corpus.passages import sentence_ends


def count_sentences(text: str) -> int:
    """The number of sentences of a thought.

    >>> count_sentences("It falls, cf. Newton. How fast? We need\\n\\n1. the height\\n2. the time, 0.5 s or so.")
    5
    """
    return sum(
        any(character.isalpha() for character in line[begin:end])
        for line in text.splitlines()
        for begin, end in pairwise([0, *sentence_ends(line), len(line)])
    )
