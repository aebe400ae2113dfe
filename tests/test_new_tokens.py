"""Tokens that a mixture adds to the vocabulary get rows in the model, which training changes and saving keeps."""

from pathlib import Path
from typing import Any

import pytest

from rcpt_ray.mixture.spec import MixtureSpec
from rcpt_ray.mixture.tokenize import load_tokenizer, text_tokenizer
from rcpt_ray.training.new_tokens import add_rows, new_token_ids, trainable_rows

SPEC = MixtureSpec(delimiters="special", thought_open="<why>", thought_close="</why>")


def untied_model(tied: bool) -> Any:
    """A small random Llama, with its embeddings tied or not."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config)


def test_only_what_the_base_tokenizer_lacks_is_new(tiny_model_folder: Path, tmp_path: Path) -> None:
    text_tokenizer(str(tiny_model_folder), SPEC, save_to=tmp_path)
    base, saved = load_tokenizer(str(tiny_model_folder)), load_tokenizer(str(tmp_path))
    assert new_token_ids(base, saved, ["<why>", "</why>"]) == [len(base), len(base) + 1]
    assert new_token_ids(base, saved, ["<|im_end|>"]) == []


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("ids", [[1024, 1025], [1000, 1024]], ids=["after the rows", "one in a row that was spare"])
def test_new_rows_are_the_mean_of_the_others_which_stay(tied: bool, ids: list[int]) -> None:
    import torch

    model = untied_model(tied)
    before = [layer.weight.detach().clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    add_rows(model, ids)
    for layer, rows in zip((model.get_input_embeddings(), model.get_output_embeddings()), before, strict=True):
        old = [row for row in range(1024) if row not in ids]
        assert layer.weight.shape[0] == max(ids) + 1
        assert torch.equal(layer.weight[old], rows[old])
        for token in ids:
            torch.testing.assert_close(layer.weight[token], rows[old].mean(dim=0))
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("tied", [True, False])
def test_adapters_train_the_new_rows_and_no_other_and_keep_them_when_merged(tied: bool) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = untied_model(tied)
    add_rows(model, [1024, 1025])
    layers = (type(model).get_input_embeddings, type(model).get_output_embeddings)
    before = [layer(model).weight.detach().clone() for layer in layers]
    rows = trainable_rows(model, [1024, 1025])
    config = LoraConfig(
        r=2, lora_alpha=2, target_modules="all-linear", task_type="CAUSAL_LM", trainable_token_indices=rows
    )
    adapted: Any = get_peft_model(model, config)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    ids_BT = torch.tensor([[5, 1024, 7, 1025, 9]])
    adapted(input_ids=ids_BT, labels=ids_BT).loss.backward()
    optimizer.step()
    merged = adapted.merge_and_unload()
    for layer, rows_before in zip(layers, before, strict=True):
        moved = (layer(merged).weight - rows_before).abs().sum(dim=1)
        assert torch.nonzero(moved).flatten().tolist() == [1024, 1025]
