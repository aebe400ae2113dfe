"""Prompts as files, and their tokens: the document's text never becomes a control token.

A prompt is a YAML file with a system and a user part; `{text}` stands for the document, `{words}` for the length asked
for. The parts of the chat template are tokenized with special tokens, the document without: a document that holds
`<|im_end|>` holds those characters and cannot end its own turn.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

import yaml

from rcpt_ray.errors import UserError

_MARK = "\ue000document\ue000"


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any

    def __call__(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> Any: ...
    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...


@dataclass(frozen=True)
class Prompt:
    """A prompt's two parts and the id that rows carry: name and first 8 digits of the hash of its words."""

    name: str
    system: str
    user: str

    @property
    def digest(self) -> str:
        """sha256 of the prompt's words."""
        return hashlib.sha256(f"{self.system}\x1f{self.user}".encode()).hexdigest()

    @property
    def prompt_id(self) -> str:
        """Name and short hash, such as expert@1f3a9c02."""
        return f"{self.name}@{self.digest[:8]}"


@dataclass(frozen=True)
class PromptTokens:
    """A prompt ready for an engine."""

    token_ids: list[int]
    num_text_tokens: int


def load_prompt(name: str) -> Prompt:
    """The prompt of that name; UserError if there is no such file."""
    folder = resources.files("rcpt_ray.thoughts") / "prompts"
    file = folder / f"{name}.yaml"
    if not file.is_file():
        names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
        raise UserError(f"thoughts.prompt={name} does not exist; choose one of {', '.join(names)}")
    parts = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Prompt(name, parts["system"].strip(), parts["user"].strip())


def tokenize_prompt(prompt: Prompt, text: str, num_words: int, tokenizer: Tokenizer) -> PromptTokens:
    """Tokens of the prompt around a document; a model without chat template gets the two parts as plain text."""
    user = prompt.user.replace("{words}", str(num_words)).replace("{text}", _MARK)
    whole = _whole_prompt(prompt.system, user, tokenizer)
    before, mark, after = whole.partition(_MARK)
    assert mark, "the chat template lost the document"

    def encode(part: str, *, control: bool) -> list[int]:
        return list(tokenizer(part, add_special_tokens=False, split_special_tokens=not control)["input_ids"])

    text_ids = encode(text, control=False)
    return PromptTokens(encode(before, control=True) + text_ids + encode(after, control=True), len(text_ids))


def _whole_prompt(system: str, user: str, tokenizer: Tokenizer) -> str:
    """The prompt's characters; a template without a system role (Gemma 2) gets both parts in the user's turn."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return f"{system}\n\n{user}\n\nInner monologue:\n"
    turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        turns = [{"role": "user", "content": f"{system}\n\n{user}"}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
