"""Markdown without what only a renderer reads: front matter, comments, images, the targets of links.

Headings, lists, emphasis and code stay: Markdown is a text that people read. Fenced and inline code and mathematics are
left alone. Invariants: doing it twice changes nothing. Price: a few regular expressions, linear in the text.
"""

import re

_MAX_NESTED = 50
_FRONT_MATTER = re.compile(r"\A(?:---\n(?:[\w-]+:.*\n|[ \t-].*\n)*---(?:\n+|\Z))+")
_KEPT = r"(?P<kept>^(?P<fence>```+|~~~+).*?(?:^(?P=fence)|\Z)|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$)"
_COMMENT = r"<!--(?:(?!<!--|-->).)*-->"
_LINK = r"!?\[(?P<words>[^\[\]\n]*)\]\((?:https?:|mailto:|[/.#])[^()\s]*(?:\s+\"[^\"\n]*\")?\)"
_PART = re.compile(rf"{_KEPT}|{_COMMENT}|{_LINK}", re.M | re.S)


def markdown_to_text(text: str) -> str:
    """The text with links as their words and without front matter, comments and images."""
    for _ in range(_MAX_NESTED):  # a link may hold an image, and front matter may hide behind a comment
        before, text = text, _PART.sub(_replacement, _FRONT_MATTER.sub("", text))
        if text == before:
            break
    return text


def _replacement(found: re.Match[str]) -> str:
    if found.group("kept"):
        return found.group()
    return "" if found.group().startswith(("!", "<!--")) else found.group("words")
