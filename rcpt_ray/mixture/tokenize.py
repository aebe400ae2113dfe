"""Laid out documents as tokens with their kinds; text never becomes a control token.

    D documents, N tokens in all, R runs of tokens of one kind in all

A document is: start token, the tokens of each segment by itself, eos. Segments are tokenized apart, so that every
token has one kind; only a delimiter that is a special token of the mixture becomes one.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rcpt_ray.errors import UserError
from rcpt_ray.mixture.layout import Segment
from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.records import BOS_EOS, DELIMITER

Encode = Callable[[list[str]], Sequence[list[int]]]
"""Token ids of each text, no token added and none special."""


@dataclass(frozen=True)
class TextTokenizer:
    """What documents are tokenized with; can be sent to other processes."""

    encode: Encode
    start_id: int | None = None
    end_id: int | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)
    """Delimiters that are tokens of their own."""

    @property
    def padding_id(self) -> int:
        """The token that fills a row; it is never a target."""
        return self.end_id or 0


@dataclass(frozen=True)
class TokenizedDocuments:
    """Documents as flat arrays; document d has tokens ends[d-1] to ends[d] and runs run_ends[d-1] to run_ends[d]."""

    ids_N: npt.NDArray[np.int32]
    ends_D: npt.NDArray[np.int64]
    run_kinds_R: npt.NDArray[np.int8]
    run_lengths_R: npt.NDArray[np.int32]
    run_ends_D: npt.NDArray[np.int64]


class BackendEncoder:
    """Encodes with a tokenizer of the `tokenizers` library, on all cores that it may use.

    Other processes get the library's own form of it, which they can read without Python files of the model's author.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._prepare()

    def __call__(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def ends(self, text: str) -> list[int]:
        """The position in a text where each of its tokens ends."""
        return [end for _, end in self._backend.encode(text, add_special_tokens=False).offsets]

    def __getstate__(self) -> str:
        return str(self._backend.to_str())

    def __setstate__(self, state: str) -> None:
        from tokenizers import Tokenizer

        self._backend = Tokenizer.from_str(state)
        self._prepare()

    def _prepare(self) -> None:
        self._backend.no_truncation()
        self._backend.no_padding()
        # A text that holds <|im_end|> is those characters; this does not survive serialization.
        self._backend.encode_special_tokens = True


class TokenCounter:
    """Counts the tokens of texts; can be sent to other processes."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._encode(list(texts))]


def load_tokenizer(model_path: str, trust_remote_code: bool = False) -> Any:
    """The transformers tokenizer in a model's folder."""
    from transformers import AutoTokenizer

    # Left open, transformers would ask on the terminal whether to run the folder's code.
    return AutoTokenizer.from_pretrained(model_path, local_files_only=True, trust_remote_code=trust_remote_code)


def token_counter(model_path: str, trust_remote_code: bool = False) -> TokenCounter:
    """A counter of a model's tokens, those that it adds around a text left out."""
    return TokenCounter(encoder_of(model_path, trust_remote_code))


def encoder_of(model_path: str, trust_remote_code: bool = False) -> BackendEncoder:
    """The encoder of a model's tokenizer; UserError where that has no form of the `tokenizers` library."""
    return _encoder(load_tokenizer(model_path, trust_remote_code))


def text_tokenizer(
    model_path: str, spec: MixtureSpec, save_to: Path | None = None, trust_remote_code: bool = False
) -> TextTokenizer:
    """The tokenizer of a mixture; with special delimiters it is saved with them, to go with the trained model."""
    tokenizer = load_tokenizer(model_path, trust_remote_code)
    special_ids = {}
    if spec.special_tokens:
        tokenizer.add_tokens(spec.special_tokens, special_tokens=True)
        special_ids = {token: tokenizer.convert_tokens_to_ids(token) for token in spec.special_tokens}
        if save_to is not None:
            tokenizer.save_pretrained(save_to)
    start_id = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "none": None}[spec.document_start]
    return TextTokenizer(_encoder(tokenizer), start_id, tokenizer.eos_token_id, special_ids)


def tokenize_documents(documents: Sequence[Sequence[Segment]], tokenizer: TextTokenizer) -> TokenizedDocuments:
    """Tokenize laid out documents in one batch."""
    special, ordinary = tokenizer.special_ids, list[str]()
    for document in documents:
        ordinary += [s.text for s in document if s.kind != DELIMITER or s.text not in special]
    encoded = iter(tokenizer.encode(ordinary) if ordinary else [])
    start = [] if tokenizer.start_id is None else [tokenizer.start_id]
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    pieces: list[list[int]] = []
    kinds, lengths = list[int](), list[int]()
    ends, run_ends = list[int](), list[int]()
    num_tokens = 0

    def add(kind: int, ids: list[int]) -> None:
        nonlocal num_tokens
        if ids:
            pieces.append(ids)
            kinds.append(kind)
            lengths.append(len(ids))
            num_tokens += len(ids)

    for document in documents:
        add(BOS_EOS, start)
        for segment in document:
            is_special = segment.kind == DELIMITER and segment.text in special
            add(segment.kind, [special[segment.text]] if is_special else next(encoded))
        add(BOS_EOS, end)
        ends.append(num_tokens)
        run_ends.append(len(kinds))
    return TokenizedDocuments(
        _flat(pieces),
        np.array(ends, np.int64),
        np.array(kinds, np.int8),
        np.array(lengths, np.int32),
        np.array(run_ends, np.int64),
    )


def _flat(pieces: Sequence[list[int]]) -> npt.NDArray[np.int32]:
    flat = array("i")
    for ids in pieces:
        flat.fromlist(ids)  # twice as fast as an iterator over all
    return np.array(flat, np.int32)


def _encoder(tokenizer: Any) -> BackendEncoder:
    # A copy: the encoder's settings are not those of whoever else holds this tokenizer.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} ({type(tokenizer).__name__}) is Python of its author alone, "
            "which workers cannot run; give a model with a tokenizer.json, or save this one's in that form"
        )
    return BackendEncoder(type(backend).from_str(backend.to_str()))
