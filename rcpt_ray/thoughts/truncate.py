"""Thoughts cut to length: at the last end of a sentence before a limit in tokens, and a reasoning model's own span.

Token ends come from the teacher's tokenizer as positions in the characters, so a cut text is a prefix of the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import regex

from rcpt_ray.errors import UserError

TokenEnds = Callable[[str], list[int]]
"""Text -> the position in it where each of its tokens ends."""

# Possessive, and begun at the first stop of a run: a thought of a thousand stops is read once.
_SENTENCE_END = regex.compile(
    r"""(?<![\p{Sentence_Terminal}…])[\p{Sentence_Terminal}…]++["'”’»)\]」』]*+(?=\s|$)|[。！？]+[」』]*"""
)
_SPAN = regex.compile(r"<think(?:ing)?>(.*?)</think(?:ing)?>", regex.DOTALL)
_OPEN, _CLOSE = regex.compile(r"<think(?:ing)?>"), regex.compile(r"</think(?:ing)?>")


@dataclass(frozen=True)
class Cut:
    """A text after truncation and its number of tokens."""

    text: str
    num_tokens: int


def words_as_tokens(text: str) -> list[int]:
    """Token ends where tokens are words, as the fake engine counts them."""
    return [match.end() for match in regex.finditer(r"\S+", text)]


def token_ends_of(model_path: str, trust_remote_code: bool = False) -> TokenEnds:
    """Token ends by the tokenizer in a model's folder; can be sent to other processes.

    Of a tokenizer that tells no positions the mistake is told when a thought must be cut, which may be never.
    """
    from rcpt_ray.mixture.tokenize import encoder_of

    try:
        return encoder_of(model_path, trust_remote_code).ends
    except UserError as mistake:
        return partial(_refuse, str(mistake))


def _refuse(words: str, text: str) -> list[int]:
    raise UserError(words)


def truncate(text: str, max_tokens: int | None, ends: TokenEnds, whole_sentences: bool = False) -> Cut:
    """The text up to the last end of a sentence within `max_tokens`; where no sentence ends before, up to the limit.

    With `whole_sentences` an unfinished last sentence is left off even where the limit is not reached.

    >>> truncate("One two. Three four five.", 4, words_as_tokens).text
    'One two.'
    """
    token_ends = ends(text)
    over = max_tokens is not None and len(token_ends) > max_tokens
    if not over and not whole_sentences:
        return Cut(text, len(token_ends))
    limit = _last_end(token_ends, max_tokens) if over and max_tokens is not None else len(text)
    last = max((match.end() for match in _SENTENCE_END.finditer(text) if match.end() <= limit), default=limit)
    kept = text[:last].rstrip()
    num_within = sum(end <= len(kept) for end in token_ends)
    reaches_over = len(kept) > (token_ends[num_within - 1] if num_within else 0)
    return Cut(kept, num_within + reaches_over)


def _last_end(token_ends: Sequence[int], max_tokens: int) -> int:
    """Where the first `max_tokens` of more tokens end, without a character of which they are a part.

    >>> _last_end([1, 4, 4, 4], 3)
    1
    """
    return max((end for end in token_ends[:max_tokens] if end < token_ends[max_tokens]), default=0)


def reasoning_span(text: str, mode: Literal["drop", "only", "keep"]) -> str | None:
    """A thought without (drop), reduced to (only) or freed of the tags of (keep) its `<think>` spans.

    A span that was opened by the prompt and is only closed here begins with the text. None where a span is not closed:
    the model was cut off while it was reasoning.
    """
    if not _OPEN.search(text) and not _CLOSE.search(text):
        return text
    first_open, first_close = _OPEN.search(text), _CLOSE.search(text)
    if first_close and (first_open is None or first_close.start() < first_open.start()):
        text = f"<think>{text}"
    outside = _SPAN.sub(" ", text)
    if _OPEN.search(outside):
        return None
    match mode:
        case "drop":
            return _without_tags(outside).strip()
        case "only":
            return "\n\n".join(_without_tags(match.group(1)).strip() for match in _SPAN.finditer(text))
        case "keep":
            return _without_tags(text).strip()


def _without_tags(text: str) -> str:
    return str(_CLOSE.sub("", _OPEN.sub("", text)))
