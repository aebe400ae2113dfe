"""The tiny model: the same bytes from the same seed, any text back exactly, control tokens where they are meant."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.tiny_model import CONTROL_TOKENS, make_tiny_llama, train_tokenizer, training_texts


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> Any:
    import transformers

    hf: Any = transformers
    return hf.AutoTokenizer.from_pretrained(tiny_model_folder)


def test_same_seed_gives_the_same_bytes(tiny_model_folder: Path, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tiny_model_folder)


def test_another_seed_gives_other_weights_and_the_same_tokenizer(tiny_model_folder: Path, tmp_path: Path) -> None:
    make_tiny_llama(tmp_path / "other", seed=1)
    one, other = contents(tiny_model_folder), contents(tmp_path / "other")
    assert {name for name in one if one[name] != other[name]} == {"model.safetensors"}


def test_random_state_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    import torch

    before = torch.random.get_rng_state()
    make_tiny_llama(tmp_path / "model", seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_model_is_small_bfloat16_and_fits_its_tokenizer(tiny_model_folder: Path, tokenizer: Any) -> None:
    import torch
    import transformers

    hf: Any = transformers
    model = hf.AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype="auto")
    assert model.dtype == torch.bfloat16
    assert model.num_parameters() < 500_000
    assert model.config.vocab_size == len(tokenizer) == 1024
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 2048
    assert model.config.head_dim % 32 == 0  # what vLLM's CPU attention takes
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_control_tokens_come_first(tokenizer: Any) -> None:
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == list(CONTROL_TOKENS)
    assert set(tokenizer.all_special_tokens) == set(CONTROL_TOKENS)


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=200))
def test_any_unicode_comes_back_exactly(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, split_special_tokens=True)["input_ids"]) == text


@pytest.mark.parametrize(
    "text", ["a  b\n\n c .", " ,", "naïve e\u0301 ﬁ", "東京 🙂\u200d🔥", "\x00\r\n\t\u2028", "do n't"]
)
def test_awkward_text_comes_back_exactly(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.one_of(st.sampled_from(CONTROL_TOKENS), st.text(max_size=5)), max_size=8))
def test_control_tokens_written_in_a_document_stay_characters(tokenizer: Any, parts: list[str]) -> None:
    text = "".join(parts)
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == text


def test_control_tokens_meant_as_such_are_one_token_each(tokenizer: Any) -> None:
    assert tokenizer("<|im_start|><|im_end|>")["input_ids"] == tokenizer.convert_tokens_to_ids(
        ["<|im_start|>", "<|im_end|>"]
    )


def test_chat_is_laid_out_turn_by_turn(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_unknown_speaker_is_refused(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="spoken by system, user or assistant, not by oracle"):
        tokenizer.apply_chat_template([{"role": "oracle", "content": "Yes."}], tokenize=False)


def test_texts_are_there_to_learn_from() -> None:
    assert sum(len(text) for text in training_texts()) > 500


def test_few_texts_give_a_smaller_vocabulary() -> None:
    """Nothing to merge: the control tokens and the bytes are all there is."""
    assert train_tokenizer(iter(["a"]), vocab_size=1024).get_vocab_size() == len(CONTROL_TOKENS) + 256


@pytest.mark.parametrize("sizes", [{"vocab_size": 200}, {"hidden_size": 80}, {"num_heads": 2, "num_kv_heads": 3}])
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be|needs"):
        make_tiny_llama(tmp_path, **sizes)
