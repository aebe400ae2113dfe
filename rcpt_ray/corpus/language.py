"""The language of a text (py3langid, 97 languages), judged by its words: formulas, code and markup are left aside.

Invariants: a text is another language only where its words say so with `MIN_CONFIDENCE`; with fewer than
`ENOUGH_LETTERS` letters of words nothing is said. Price: 0.3 ms a text, as the first `JUDGED_CHARS` characters decide;
0.1 s once a process for the model.
"""

from collections.abc import Collection
from functools import cache
from typing import Any

import regex

UNKNOWN = "und"
"""ISO 639-2's code for a language that cannot be told."""
ENOUGH_LETTERS = 80
JUDGED_CHARS = 400
MIN_CONFIDENCE = 0.9

_NOT_WORDS = regex.compile(
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\begin\{[^{}]*\}|\\end\{[^{}]*\}|\\[A-Za-z]+|```.*?```|`[^`\n]*`"
    r"|https?://\S+",
    regex.S,
)
_SIGN = regex.compile(r"[\d_=<>{}^\\|@#~]")
_LETTER = regex.compile(r"\p{L}")


def language_of(text: str) -> tuple[str, float]:
    """The ISO 639-1 code of the text's language and how probable it is; ("und", 0.0) with too few words to tell."""
    words = words_alone(text)
    if len(_LETTER.findall(words)) < ENOUGH_LETTERS:
        return UNKNOWN, 0.0
    code, probability = _identifier().classify(words)
    return str(code), float(probability)


def other_language(text: str, languages: Collection[str]) -> str | None:
    """The language of a text that is surely none of these; None where it is one of them, or cannot be told."""
    code, probability = language_of(text)
    return code if code not in {*languages, UNKNOWN} and probability >= MIN_CONFIDENCE else None


def known_languages() -> set[str]:
    """Codes of the languages that can be told."""
    return set(_identifier().labels)


def words_alone(text: str) -> str:
    """Words from the middle of a text, without formulas, code and links; at most `JUDGED_CHARS` characters.

    The beginning of a long text is often a title page of names and numbers, which are words of no language.

    >>> words_alone(r"Let $x^2 = 2$ and \\emph{y} be real.")
    'Let and be real.'
    """
    middle = max(0, len(text) // 2 - 2 * JUDGED_CHARS)
    words = _NOT_WORDS.sub(" ", text[middle : middle + 20 * JUDGED_CHARS]).split()
    return " ".join(word for word in words if not _SIGN.search(word))[:JUDGED_CHARS]


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
