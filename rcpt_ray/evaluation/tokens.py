"""Texts of an evaluation as token ids, the delimiters of thoughts as in training.

Invariants: in a question or document no token is special: `<|im_end|>` is those characters. A text is cut at the arm's
delimiters and the pieces are tokenized apart, as in training; a delimiter that is a token of the model's own (the
mixture's delimiters=special) becomes that token.
"""

import re
from collections.abc import Sequence
from typing import Any


class TextTokens:
    """Tokenizes around delimiters; can be sent to other processes."""

    def __init__(self, model_path: str, delimiters: Sequence[str], trust_remote_code: bool = False) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            model_path, split_special_tokens=True, local_files_only=True, trust_remote_code=trust_remote_code
        )
        own, named = self.tokenizer.get_added_vocab(), [text for text in delimiters if text]
        self._ids = {text: int(own[text]) for text in named if text in own}
        longest_first = sorted(named, key=len, reverse=True)
        self._delimiter = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if named else None
        start = self.tokenizer.bos_token_id
        self.prefix_id = int(self.tokenizer.eos_token_id if start is None else start)
        """What stands before a text that is scored from its first token on."""
        self._start = self.tokenizer.decode(self.prefix_id)

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids; None adds what the tokenizer itself puts before a text, unless the text begins with it."""
        if add_special_tokens is None:
            options = {"add_special_tokens": False} if text.startswith(self._start) else {}
        else:
            options = {"add_special_tokens": add_special_tokens}
        pieces = self._delimiter.split(text) if self._delimiter else [text]
        ids: list[int] = []
        for piece in pieces:
            if piece in self._ids:
                ids.append(self._ids[piece])
            elif piece or len(pieces) == 1:
                ids += self.tokenizer.encode(piece, **(options if not ids else {"add_special_tokens": False}))
        return ids

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of the characters alone: nothing is added, and nothing is a delimiter."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))
