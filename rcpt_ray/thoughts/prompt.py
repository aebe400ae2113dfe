"""Prompts as files, and their tokens: the document's text never becomes a control token.

A prompt is a YAML file with a system and a user part, and examples; `{text}` stands for the document, `{words}` for the
length asked for. A model with a chat template gets system and user; a base model gets the examples, then the document,
and stops where a next example would begin. The parts of the prompt are tokenized with special tokens, the document
without: a document that holds `<|im_end|>` holds those characters and cannot end its own turn.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

import yaml

from rcpt_ray.errors import UserError
from rcpt_ray.thoughts.engine import RowRefused

_MOST_CHARACTERS_A_TOKEN = 16
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
    examples: tuple[tuple[str, str], ...] = ()
    """Pairs of a text and its thought, for base models."""

    @property
    def words(self) -> str:
        """All that the prompt says by itself."""
        return "\x1f".join([self.system, self.user, *(part for example in self.examples for part in example)])

    @property
    def digest(self) -> str:
        """sha256 of the prompt's words."""
        return hashlib.sha256(self.words.encode()).hexdigest()

    @property
    def border(self) -> str:
        """What separates examples for base models: no heading of a document is alike by accident."""
        return f"##### {self.digest[:12]}"

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
    return _load("prompts", "thoughts.prompt", name)


def load_critic(name: str) -> Prompt:
    """The critic of that name; UserError if there is no such file."""
    return _load("critics", "thoughts.scores.critic", name)


def _load(kind: str, setting: str, name: str) -> Prompt:
    folder = resources.files("rcpt_ray.thoughts") / kind
    file = folder / f"{name}.yaml"
    if not file.is_file():
        names = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
        raise UserError(f"{setting}={name} does not exist; choose one of {', '.join(names)}")
    parts = yaml.safe_load(file.read_text(encoding="utf-8"))
    examples = tuple((example["text"].strip(), example["thought"].strip()) for example in parts.get("examples", ()))
    return Prompt(name, parts["system"].strip(), parts["user"].strip(), examples)


class PromptFrame:
    """A prompt's tokens before and after the document, made once for all documents."""

    def __init__(self, prompt: Prompt, num_words: int, tokenizer: Tokenizer) -> None:
        whole = _whole_prompt(prompt, num_words, tokenizer)
        before, mark, after = whole.partition(_MARK)
        assert mark, "the chat template lost the document"
        self._tokenizer = tokenizer
        self._before, self._after = self._encode(before, control=True), self._encode(after, control=True)
        if not tokenizer.chat_template:
            # What the tokenizer puts before a text of its own accord; a template writes it itself.
            self._before = [*self._beginning(), *self._before]
        self.stop: tuple[str, ...] = () if tokenizer.chat_template else (prompt.border,)
        """What ends a thought besides the model's own end."""

    def around(self, text: str) -> PromptTokens:
        """The prompt's tokens with a document in it."""
        text_ids = self._encode(text, control=False)
        return PromptTokens([*self._before, *text_ids, *self._after], len(text_ids))

    def within(self, text: str, limit: int | None, num_new_tokens: int) -> PromptTokens:
        """The same, where it leaves room for so many new tokens in a context of `limit`; else RowRefused."""
        # No text has so few tokens; this spares the tokenizer a document of millions of characters.
        if limit is not None and len(text) > _MOST_CHARACTERS_A_TOKEN * limit:
            raise RowRefused("too_long_for_model")
        prompt = self.around(text)
        if limit is not None and len(prompt.token_ids) + num_new_tokens > limit:
            raise RowRefused("too_long_for_model")
        return prompt

    def _beginning(self) -> list[int]:
        begun = list(self._tokenizer("a", add_special_tokens=True, split_special_tokens=False)["input_ids"])
        bare = self._encode("a", control=False)
        return begun[: begun.index(bare[0])] if bare and bare[0] in begun else []

    def _encode(self, part: str, *, control: bool) -> list[int]:
        return list(self._tokenizer(part, add_special_tokens=False, split_special_tokens=not control)["input_ids"])


def chat_turns(prompt: Prompt, text: str, num_words: int) -> list[dict[str, str]]:
    """The prompt around a document as turns of a chat."""
    user = prompt.user.replace("{words}", str(num_words)).replace("{text}", text)
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]


def _whole_prompt(prompt: Prompt, num_words: int, tokenizer: Tokenizer) -> str:
    """The prompt's characters; a template without a system role (Gemma 2) gets both parts in the user's turn."""
    from jinja2 import TemplateError

    turns = chat_turns(prompt, _MARK, num_words)
    system, user = (turn["content"] for turn in turns)
    if not tokenizer.chat_template:
        if not prompt.examples:
            return f"{system}\n\n{user}\n"
        shown = [f"Text:\n{text}\n\nThoughts:\n{thought}" for text, thought in (*prompt.examples, (_MARK, ""))]
        asked = f"{system} Each is in the language of its text and has about {num_words} words."
        return f"\n\n{prompt.border}\n\n".join([asked, *shown])
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        turns = [{"role": "user", "content": f"{system}\n\n{user}"}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
