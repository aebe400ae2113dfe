"""YAML that may come from anybody, read into plain values with limits.

    text --compose (no tag makes an object, no key twice)--> values --copy (plain types, finite numbers)--> settings

Invariants: what comes out is made of dictionaries with text keys, lists, texts, whole numbers below 2**63, finite
numbers, booleans and null, nothing shared between two places; whatever else the text holds ends in one UserError. The
work is bounded by the limits below: anchors that stand for a billion values, merged keys and deep nesting are stopped
while they are counted, not after they were written out.
Price: about a second for the largest text that is read.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from rcpt_ray.errors import UserError

MAX_BYTES = 2**18
_MAX_VALUES = 10_000
_MAX_DEPTH = 24
_MAX_CHARACTERS = 2**20
_MAX_DIGITS = 40
_MAX_MERGED = 50
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs: no setting needs one, and a path or a log is spoilt by them."""


def read_yaml(path: str | Path) -> Any:
    """The values of a file, of at most MAX_BYTES.

    Raises:
        UserError: the file is missing, cannot be read, is too large, or is no YAML within the limits.
    """
    try:
        # Not by its size: a pipe has none, and /dev/zero has no end.
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"recipe {path} does not exist; give the path of a .yaml file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"recipe {path} cannot be read ({error}); give a readable UTF-8 .yaml file") from None
    return parse_yaml(text, f"recipe {path}")


def parse_yaml(text: str, where: str) -> Any:
    """The values of a text; `where` is what it is called in the words of an error.

    Raises:
        UserError: it is no YAML, or breaks a limit.

    >>> parse_yaml("{a: [1, x], b: -0.0}", "this")
    {'a': [1, 'x'], 'b': 0.0}
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{where} is larger than {MAX_BYTES // 1024} KiB; a recipe names data, it does not hold it")
    try:
        loaded = _load(text)
    except RecursionError:
        raise UserError(f"{where} is nested more than {_MAX_DEPTH} deep; write it flatter") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"{where} is no valid YAML{line}; {problem[:300]}; mend it") from None
    return plain(loaded, where)


def plain(values: Any, where: str = "") -> Any:
    """A copy made of plain values, within the limits; -0.0 becomes 0.0. Without `where` errors begin with the setting.

    Raises:
        UserError: it holds something else, or too much.
    """
    return _Copy(where).of(values, (), 0)


class _Copy:
    """Copies values and counts them."""

    def __init__(self, where: str) -> None:
        self._where, self._before = where or "the recipe", f"{where}: " if where else ""
        self._num_values, self._num_characters = 0, 0

    def of(self, value: Any, path: tuple[str, ...], depth: int) -> Any:
        self._num_values += 1
        if self._num_values > _MAX_VALUES:
            raise UserError(f"{self._where} holds more than {_MAX_VALUES:,} values; leave out anchors that repeat much")
        if depth > _MAX_DEPTH:
            raise UserError(f"{self._where} is nested more than {_MAX_DEPTH} deep; write it flatter")
        match value:
            case dict():
                return {self._key(key, path): self.of(one, (*path, str(key)), depth + 1) for key, one in value.items()}
            case list() | tuple():
                return [self.of(one, path, depth + 1) for one in value]
            case str():
                return self._text(value, path)
            case None | bool():
                return value
            case int() if abs(value) < 2**63:
                return value
            case float() if math.isfinite(value):
                return value + 0.0
            case int() | float():
                raise UserError(f"{self._at(path)} is no finite number of at most 19 digits; give a smaller one")
            case _:
                raise UserError(f"{self._at(path)} is a {type(value).__name__}, which no setting is; put it in quotes")

    def _key(self, key: Any, path: tuple[str, ...]) -> str:
        if not isinstance(key, str):
            raise UserError(f"{self._at((*path, repr(key)[:40]))}: a setting's name is text; put it in quotes")
        return self._text(key, path)

    def _text(self, text: str, path: tuple[str, ...]) -> str:
        self._num_characters += len(text)
        if self._num_characters > _MAX_CHARACTERS:
            raise UserError(f"{self._where} holds more than {_MAX_CHARACTERS:,} characters; shorten it")
        if (found := _NOT_TEXT.search(text)) is not None:
            raise UserError(f"{self._at(path)} holds the character {found[0]!r}, which no setting may; leave it out")
        return text

    def _at(self, path: tuple[str, ...]) -> str:
        name = ".".join(path)
        return f"{self._before}{name if len(name) <= 100 else name[:97] + '...'}" if path else self._where


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which counts while it composes and takes no key twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth, self._num_nodes, self._num_merged = 0, 0, 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._num_nodes += 1
        self._depth += 1
        if self._num_nodes > 2 * _MAX_VALUES:
            raise ValueError(f"it holds more than {_MAX_VALUES:,} values")
        if self._depth > 2 * _MAX_DEPTH:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value[:100]!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        for key, value in node.value:
            is_merge = key.tag == "tag:yaml.org,2002:merge"
            if is_merge and isinstance(value, yaml.SequenceNode) and len(value.value) > _MAX_MERGED:
                raise ValueError(f"more than {_MAX_MERGED} mappings are merged into one")
        super().flatten_mapping(node)
        self._num_merged += len(node.value)
        if self._num_merged > 2 * _MAX_VALUES:
            raise ValueError(f"merged keys make more than {_MAX_VALUES:,} values of it")

    def construct_number(self, node: Any) -> Any:
        # Before it is worked out: 1:1:1:... counts in sixties, and hexadecimal digits have no limit of Python's.
        if len(node.value) > _MAX_DIGITS:
            raise yaml.MarkedYAMLError(
                problem=f"a number has more than {_MAX_DIGITS} characters", problem_mark=node.start_mark
            )
        is_whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        return super().construct_object(node, deep=True)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
