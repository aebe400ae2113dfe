"""Quality filters of other people's corpora, as datatrove has them: what is measured and every threshold is theirs.

gopher_quality and gopher_repetition are Rae et al., arXiv 2112.11446, table A1; fineweb is Penedo et al., arXiv
2406.17557, section 3.5. Words are those between white space, as in Gopher, so that no language model is needed;
the number of words is not judged, as the corpus has a window of its own.

They were made for web pages. Passages of textbooks and opinions are refused by rules about lines and repetition that
were not meant for them: see the shares in benchmarks/README.md before using one. Price: about 1 ms for 1,400
characters for gopher_repetition, 0.2 ms for the others together; 1 s once a process to import.
"""

from collections.abc import Sequence
from typing import Any

from rcpt_ray.corpus.spec import QualityFilter


class QualityFilters:
    """The filters of these names, asked in this order."""

    def __init__(self, names: Sequence[QualityFilter]) -> None:
        self._filters = [(name, _filter(name)) for name in dict.fromkeys(names)]

    def reason(self, text: str) -> str | None:
        """Why the first filter that refuses a text does so, as filter:rule; None if all take it."""
        if not self._filters:
            return None
        from datatrove.data import Document

        if not text.strip():
            return f"{self._filters[0][0]}:empty"
        document = Document(text=text, id="")
        for name, one in self._filters:
            taken = one.filter(document)
            if taken is not True:
                rule = taken[1] if isinstance(taken, tuple) else "refused"
                return f"{name}:{rule.removeprefix('gopher_')}"
        return None


def _filter(name: QualityFilter) -> Any:
    from datatrove.pipeline import filters

    words = _white_space_words()
    match name:
        case "gopher_quality":
            return filters.GopherQualityFilter(min_doc_words=None, max_doc_words=None, language=words)
        case "gopher_repetition":
            return filters.GopherRepetitionFilter(language=words)
        case "fineweb":
            return filters.FineWebQualityFilter(language=words)


def _white_space_words() -> Any:
    """A tokenizer for datatrove's filters; its own WhitespaceTokenizer calls spaCy for words."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class WhiteSpaceWords(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            raise NotImplementedError("no filter of ours asks for sentences")

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            raise NotImplementedError("no filter of ours asks for sentences")

    return WhiteSpaceWords()
