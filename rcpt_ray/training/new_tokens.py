"""Rows in a model's embeddings for tokens that a mixture added to the vocabulary.

A new row begins as the mean of all rows, so that at first no text expects or avoids the token more than another
(Hewitt, "Initializing new word embeddings for pretrained language models", 2021).
"""

from collections.abc import Sequence
from typing import Any


def add_rows(model: Any, token_ids: Sequence[int]) -> None:
    """Have rows for these token ids in the input and output embeddings, each the mean of the rows before."""
    import torch

    num_rows = model.get_input_embeddings().weight.shape[0]
    new = set(token_ids)
    old = [token for token in range(num_rows) if token not in new]
    means = [layer.weight.data[old].float().mean(dim=0) for layer in _layers(model)]
    if max(token_ids) >= num_rows:
        model.resize_token_embeddings(max(token_ids) + 1, mean_resizing=False)
    with torch.no_grad():
        for layer, mean in zip(_layers(model), means, strict=True):
            layer.weight.data[list(token_ids)] = mean.to(layer.weight.dtype)


def trainable_rows(model: Any, token_ids: Sequence[int]) -> dict[str, list[int]]:
    """For peft's `trainable_token_indices`: the new rows of each embedding, so that adapters train these too."""
    layers = _layers(model)
    names = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    return {names[id(layer)]: list(token_ids) for layer in layers}


def new_token_ids(base_tokenizer: Any, tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """Ids of those tokens that the base tokenizer does not have."""
    known = base_tokenizer.get_vocab()
    return [tokenizer.convert_tokens_to_ids(token) for token in tokens if token not in known]


def _layers(model: Any) -> list[Any]:
    """Input embeddings, and the output's where they are not tied to them."""
    layers = [model.get_input_embeddings()]
    output = model.get_output_embeddings()
    if output is not None and output.weight is not layers[0].weight:
        layers.append(output)
    return layers
