"""Set one value in the text of a YAML file and leave everything else as it is: comments, order, quotes.

PyYAML's nodes tell where keys and values stand in the text. Whoever edits reads the text again and compares: anchors,
aliases and merged keys are not understood here.
"""

from collections.abc import Sequence
from typing import Any

import yaml


def with_setting(text: str, path: Sequence[str], value: Any) -> str:
    """The text with the value at a path of keys; mappings that are missing are made, in one line.

    Example: "a: {b: 1}  # why" with path (a, c) and 2 -> "a: {b: 1, c: 2}  # why"

    Raises:
        ValueError: the text is no mapping.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, step in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            raise ValueError(f"{'.'.join(path[:depth])} is no mapping")
        rest = path[depth + 1 :]
        pair = next((pair for pair in reversed(node.value) if pair[0].value == step), None)
        if pair is None:
            return _inserted(text, node, step, _nested(rest, value))
        key, found = pair
        if not rest or not isinstance(found, yaml.MappingNode):
            begin, end = key.end_mark.index, max(_end(text, found), text.index(":", key.end_mark.index) + 1)
            return f"{text[:begin]}: {_in_line(_nested(rest, value))}{text[end:]}"
        node = found
    raise ValueError("an empty path names no setting")


def _inserted(text: str, node: yaml.MappingNode, key: str, value: Any) -> str:
    words = f"{_in_line(key)}: {_in_line(value)}"
    if not node.value:
        place = node.start_mark.index + 1
        return f"{text[:place]}{words}{text[place:]}"
    place = _end(text, node.value[-1][1])
    if node.flow_style:
        return f"{text[:place]}, {words}{text[place:]}"
    line_end = text.find("\n", place)
    place = len(text) if line_end < 0 else line_end
    return f"{text[:place]}\n{' ' * node.value[0][0].start_mark.column}{words}{text[place:]}"


def _end(text: str, node: yaml.Node) -> int:
    """Behind the last letter of a value; a block's own mark stands at the begin of what follows it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(text, node.value[-1])
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return len(text[: node.end_mark.index].rstrip())
    return int(node.end_mark.index)


def _nested(path: Sequence[str], value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value


def _in_line(value: Any) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return written.removesuffix("...\n").strip()
