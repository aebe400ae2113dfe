"""Losses chunk by chunk are those of the model's own logits, and so are their gradients."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy as plain_cross_entropy
from training_fixtures import ROW_TOKENS, write_rows

from rcpt_ray.records import SEGMENT_KINDS, THOUGHT_KIND
from rcpt_ray.training import cross_entropy as chunks
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.head import add_losses
from rcpt_ray.training.losses import batch_losses, token_losses
from rcpt_ray.training.packed_rows import PackedRows

WEIGHTS_K = np.array([0.0, 1.0, 0.5, 2.0, 0.25])
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
SIZES |= {"num_key_value_heads": 1, "vocab_size": 1100, "max_position_embeddings": 128, "pad_token_id": 3}


def model_of(kind: str) -> Any:
    """Tiny random models whose output layers differ."""
    import transformers

    hf: Any = transformers
    torch.manual_seed(5)
    match kind:
        case "llama, tied":
            model = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=True))
        case "llama, untied":
            model = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=False))
        case "gemma 2, soft cap":
            model = hf.Gemma2ForCausalLM(hf.Gemma2Config(**SIZES, final_logit_softcapping=0.5))
        case "cohere, scale":
            model = hf.CohereForCausalLM(hf.CohereConfig(**SIZES, logit_scale=0.3))
        case "granite, divisor":
            model = hf.GraniteForCausalLM(hf.GraniteConfig(**SIZES, logits_scaling=4.0))
        case "phi, bias":
            model = hf.PhiForCausalLM(
                hf.PhiConfig(**{name: size for name, size in SIZES.items() if name != "head_dim"})
            )
            torch.nn.init.normal_(model.lm_head.bias)
        case "minicpm-like, unknown to us":
            model = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, tie_word_embeddings=True))
            model.lm_head = _Doubled(model.lm_head)
    return model


class _Doubled(torch.nn.Module):
    """An output layer that is no linear one."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight = linear.weight

    def forward(self, hidden: Any) -> Any:
        return 2 * torch.nn.functional.linear(hidden, self.weight)


pytestmark = pytest.mark.usefixtures("one_thread")
KINDS_OF_MODEL = (
    "llama, tied",
    "llama, untied",
    "gemma 2, soft cap",
    "cohere, scale",
    "granite, divisor",
    "phi, bias",
    "minicpm-like, unknown to us",
)


@pytest.fixture
def small_chunks() -> Iterator[None]:
    """Chunks of 7 tokens in blocks of 2, so that every boundary occurs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_MAX_CHUNK_LOGITS", 7 * 1100)
        patch.setattr(chunks, "_CPU_BLOCK_LOGITS", 2 * 1100)
        yield


def engine_of(model: Any) -> Any:
    """What the losses need of DeepSpeed's engine: to be called, and a device."""

    class Engine(SimpleNamespace):
        def __call__(self, **named: Any) -> Any:
            return model(**named)

    return Engine(device=torch.device("cpu"))


def batch_of(folder: Path) -> Batch:
    feed = PackedRows(write_rows(folder / "rows", [20, 60, 33, 12, 9, 40]))
    return feed.batch(list(range(feed.num_rows)))


def plain_losses(model: Any, batch: Batch) -> Any:
    """float[B, T] from all logits of the model's own forward."""
    logits_BTV = model(
        input_ids=torch.from_numpy(batch.input_ids_BT),
        position_ids=torch.from_numpy(batch.position_ids_BT),
        use_cache=False,
    ).logits
    targets_BT = torch.from_numpy(batch.target_ids_BT)
    return plain_cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none").view_as(targets_BT)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", KINDS_OF_MODEL)
def test_losses_and_gradients_are_those_of_the_models_own_logits(kind: str, tmp_path: Path) -> None:
    batch, own, ours = batch_of(tmp_path), model_of(kind), model_of(kind)
    add_losses(ours, "torch")
    weights_BT = torch.from_numpy(WEIGHTS_K)[torch.from_numpy(batch.target_kind_BT).long()]
    own_losses_BT = plain_losses(own, batch)
    (own_losses_BT * weights_BT).sum().backward()

    makes_all_logits = list[Any]()
    ours.get_output_embeddings().register_forward_hook(lambda *_: makes_all_logits.append(True))
    found = batch_losses(engine_of(ours), batch, WEIGHTS_K)
    found.total.backward()
    assert bool(makes_all_logits) == ("unknown" in kind)

    own_losses_N = own_losses_BT.flatten()[torch.from_numpy(found.positions_N)]
    torch.testing.assert_close(found.losses_N, own_losses_N.detach(), rtol=1e-5, atol=1e-5)
    assert len(found.positions_N) == int((batch.target_kind_BT > 0).sum())
    for (name, parameter), there in zip(ours.named_parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, there.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_without_targets_the_model_is_what_it_was(tmp_path: Path) -> None:
    batch, own, ours = batch_of(tmp_path), model_of("llama, tied"), model_of("llama, tied")
    add_losses(ours, "torch")
    assert torch.equal(plain_losses(own, batch), plain_losses(ours, batch))
    assert ours.state_dict().keys() == own.state_dict().keys()


def test_token_losses_stand_where_their_targets_stand(tmp_path: Path) -> None:
    batch, model = batch_of(tmp_path), model_of("llama, tied")
    add_losses(model, "torch")
    losses_BT, kind_BT = token_losses(engine_of(model), batch)
    expected_BT = plain_losses(model, batch).detach() * (kind_BT > 0)
    torch.testing.assert_close(losses_BT, expected_BT, rtol=1e-5, atol=1e-5)
    assert not losses_BT.requires_grad


def test_kind_of_weight_zero_has_losses_but_its_targets_change_no_gradient(tmp_path: Path) -> None:
    """Other targets in its place: other losses, the very same gradients."""
    batch, weights_K = batch_of(tmp_path), WEIGHTS_K * (np.arange(len(SEGMENT_KINDS)) != THOUGHT_KIND)
    other_targets_BT = np.where(batch.target_kind_BT == THOUGHT_KIND, batch.target_ids_BT + 1, batch.target_ids_BT)
    other = Batch(batch.input_ids_BT, batch.position_ids_BT, other_targets_BT, batch.target_kind_BT)
    gradients, losses = [], []
    for each in (batch, other):
        model = model_of("llama, tied")
        add_losses(model, "torch")
        found = batch_losses(engine_of(model), each, weights_K)
        found.total.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        losses.append(found.losses_N[torch.from_numpy(found.kinds_N) == THOUGHT_KIND])
    assert all(torch.equal(one, another) for one, another in zip(*gradients, strict=True))
    assert len(losses[0]) > 5
    assert (losses[0] != losses[1]).all()


def test_row_without_targets_has_a_backward_pass_of_zeros(tmp_path: Path) -> None:
    """Its worker takes part in the exchange of gradients like the others."""
    feed = PackedRows(write_rows(tmp_path / "rows", [ROW_TOKENS]))
    model = model_of("llama, untied")
    add_losses(model, "torch")
    found = batch_losses(engine_of(model), feed.batch([None]), WEIGHTS_K)
    found.total.backward()
    assert float(found.total) == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_frozen_output_layer_gets_no_gradient_and_hidden_states_theirs(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    batch, gradients = batch_of(tmp_path), []
    for ours in (True, False):
        torch.manual_seed(1)
        model = get_peft_model(model_of("llama, untied"), LoraConfig(r=2, target_modules="all-linear"))
        weights_BT = torch.from_numpy(WEIGHTS_K)[torch.from_numpy(batch.target_kind_BT).long()]
        if ours:
            add_losses(model, "torch")
            batch_losses(engine_of(model), batch, WEIGHTS_K).total.backward()
        else:
            (plain_losses(model, batch) * weights_BT).sum().backward()
        assert model.get_output_embeddings().weight.grad is None
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.requires_grad})
    assert any(gradient.any() for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_that_peft_trains_get_the_gradients_of_the_models_own_logits(tied: bool, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    batch, rows = batch_of(tmp_path), [7, 8, 900]
    trained = {"embed_tokens": rows} if tied else {"embed_tokens": rows, "lm_head": rows}
    weights_BT = torch.from_numpy(WEIGHTS_K)[torch.from_numpy(batch.target_kind_BT).long()]
    gradients = []
    for ours in (True, False):
        torch.manual_seed(1)
        config = LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=trained)
        model = get_peft_model(model_of("llama, tied" if tied else "llama, untied"), config)
        if ours:
            add_losses(model, "torch")
            batch_losses(engine_of(model), batch, WEIGHTS_K).total.backward()
        else:
            (plain_losses(model, batch) * weights_BT).sum().backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if "token" in name})
    assert gradients[0]
    for name, gradient in gradients[0].items():
        assert (gradient is None) == (gradients[1][name] is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-4, msg=name)
