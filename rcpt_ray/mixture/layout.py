"""The layout of thought and text in a document.

    thought_first    <thought> why .. </thought> text
    document_first   text <thought> why .. </thought>
    text_only        text

A laid out document is a list of segments; dropping every segment that is no text gives the source back exactly.
"""

from dataclasses import dataclass

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.records import DELIMITER, TEXT, THOUGHT_KIND


@dataclass(frozen=True)
class Segment:
    """A run of characters of one kind."""

    kind: int
    text: str


def lay_out(text: str, thought: str | None, spec: MixtureSpec) -> list[Segment]:
    """Segments of a document; without a thought, the text alone."""
    document = Segment(TEXT, text)
    if thought is None or spec.layout == "text_only":
        return [document]
    around = [
        Segment(DELIMITER, spec.thought_open),
        Segment(THOUGHT_KIND, thought),
        Segment(DELIMITER, spec.thought_close),
    ]
    match spec.layout:
        case "thought_first":
            return [*around, document]
        case "document_first":
            return [document, *around]


def source_text(segments: list[Segment]) -> str:
    """The inverse of `lay_out`: the source's text."""
    return "".join(segment.text for segment in segments if segment.kind == TEXT)
