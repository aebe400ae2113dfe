"""Laid out documents as tokens with their kinds; text never becomes a control token.

N tokens in a document: bos, the segments' tokens, eos
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rcpt_ray.mixture.layout import Segment
from rcpt_ray.records import BOS_EOS


@dataclass(frozen=True)
class TokenizedDocument:
    """A document ready to be packed."""

    doc_id: str
    ids_N: npt.NDArray[np.int32]
    kinds_N: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids_N)


class TextTokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool, split_special_tokens: bool) -> Any: ...


def load_tokenizer(model_path: str) -> TextTokenizer:
    """The tokenizer in a model's folder."""
    from transformers import AutoTokenizer

    tokenizer: TextTokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
    return tokenizer


def tokenize_documents(
    documents: Sequence[tuple[str, list[Segment]]], tokenizer: TextTokenizer
) -> list[TokenizedDocument]:
    """Tokenize (doc_id, segments) pairs in one batch; bos and eos are added where the tokenizer has them."""
    flat = [segment for _, segments in documents for segment in segments]
    encoded = (
        tokenizer([s.text for s in flat], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if flat
        else []
    )
    tokens = iter(zip(flat, encoded, strict=True))
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    result = []
    for doc_id, segments in documents:
        ids, kinds = list(bos), [BOS_EOS] * len(bos)
        for _ in segments:
            segment, segment_ids = next(tokens)
            ids += segment_ids
            kinds += [segment.kind] * len(segment_ids)
        ids += eos
        kinds += [BOS_EOS] * len(eos)
        result.append(TokenizedDocument(doc_id, np.array(ids, np.int32), np.array(kinds, np.int8)))
    return result
