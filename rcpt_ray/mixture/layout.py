"""The layout of a document and what a model wrote about it.

    thought_first    <thought> why .. </thought> text
    document_first   text <thought> why .. </thought>
    interleaved      problem <thought> why .. </thought> conclusion
    text_only        text
    paraphrase       text, an empty line, the text in other words

A laid out document is a list of segments; dropping every segment that is no text gives the source back exactly. The
orders are those of Reasoning CPT (arXiv 2505.10182, where the order is ours), TPT (2509.20186), thinking
mid-training (2601.21343) and the paraphrase control of BoLT (2503.18866).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rcpt_ray.mixture.spec import Layout, MixtureSpec
from rcpt_ray.records import DELIMITER, TEXT, THOUGHT_KIND

_BETWEEN = "\n\n"


@dataclass(frozen=True)
class Segment:
    """A run of characters of one kind."""

    kind: int
    text: str


def lay_out(
    segments: Sequence[str], written: str | None, layout: Layout, opening: str = "", closing: str = ""
) -> list[Segment]:
    """Segments of a document; `written` is its thought or paraphrase, without which the text stands alone.

    A document without segments of its own comes as one; then interleaved is thought_first.
    """
    texts = [Segment(TEXT, segment) for segment in segments]
    if written is None or layout == "text_only":
        return texts
    thought = [Segment(DELIMITER, opening), Segment(THOUGHT_KIND, written), Segment(DELIMITER, closing)]
    match layout:
        case "thought_first":
            return [*thought, *texts]
        case "document_first":
            return [*texts, *thought]
        case "interleaved":
            return [*texts[:-1], *thought, *texts[-1:]]
        case "paraphrase":
            return [*texts, Segment(DELIMITER, _BETWEEN), Segment(THOUGHT_KIND, written)]


def delimiters_of(spec: MixtureSpec) -> tuple[str, str]:
    """What stands before and after a thought; special tokens without the white space around them."""
    opening, closing = spec.special_tokens or (spec.thought_open, spec.thought_close)
    return opening, closing


def source_segments(segments: Sequence[Segment]) -> list[str]:
    """The inverse of `lay_out`: the source's segments."""
    return [segment.text for segment in segments if segment.kind == TEXT]
