"""Reasons to leave a document out, judged from the document alone."""

from rcpt_ray.corpus.spec import CorpusSpec


def count_words(text: str) -> int:
    """Number of words between white space."""
    return len(text.split())


def reason_to_reject(num_words: int, spec: CorpusSpec) -> str | None:
    """Why a document of so many words is left out, None if it is kept."""
    if num_words < spec.min_words:
        return "too_short"
    if num_words > spec.max_words:
        return "too_long"
    return None
