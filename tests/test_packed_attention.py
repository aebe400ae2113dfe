"""Documents packed into one row do not see each other: logits and loss are those that each has alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.training.attention import BY_DOCUMENT, can_attend_by_document, register
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.packed_rows import PackedRows

ROW_TOKENS = 48
LENGTHS = (20, 15, 48, 9, 30, 7)


def documents_of(lengths: Sequence[int]) -> Documents:
    """Random tokens, all of kind text."""
    ids = np.random.default_rng(11).integers(4, 1000, sum(lengths)).astype(np.int32)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Documents([f"d{n}" for n in range(len(lengths))], ids, np.ones(len(ids), np.int8), starts)


def tokens_alone(documents: Documents) -> dict[str, Any]:
    parts = np.split(documents.ids_N.astype(np.int64), documents.starts[1:-1])
    return dict(zip(documents.doc_ids, parts, strict=True))


def model_of(folder: Path, attention: str) -> Any:
    """As the training loop loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    register()
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).train()
    model.config.use_cache = False
    return model


def packed_batch(documents: Documents, folder: Path) -> tuple[Batch, pa.Table]:
    rows = pa.concat_tables(pack(documents, ROW_TOKENS, padding_id=3, seed=[1]))
    write_table(folder / "part-0.parquet", rows)
    return PackedRows([folder / "part-0.parquet"]).batch(range(len(rows))), rows


def packed_logits(model: Any, batch: Batch) -> Any:
    """As the training loop calls the model: by position ids, without a mask and without a cache."""
    import torch

    return model(
        input_ids=torch.from_numpy(batch.input_ids_BT),
        position_ids=torch.from_numpy(batch.position_ids_BT),
        use_cache=False,
    ).logits


@pytest.mark.parametrize("attention", ["sdpa", "eager", BY_DOCUMENT])
def test_logits_of_a_packed_row_are_those_of_its_documents_alone(
    tiny_model_folder: Path, tmp_path: Path, attention: str
) -> None:
    import torch

    documents, model = documents_of(LENGTHS), model_of(tiny_model_folder, attention)
    batch, rows = packed_batch(documents, tmp_path)
    alone, num_compared = tokens_alone(documents), 0
    with torch.no_grad():
        for row_TV, names in zip(packed_logits(model, batch), rows["doc_ids"].to_pylist(), strict=True):
            start = 0
            for name in names:
                alone_TV = model(input_ids=torch.from_numpy(alone[name])[None], use_cache=False).logits[0]
                torch.testing.assert_close(row_TV[start : start + len(alone_TV)], alone_TV, rtol=0, atol=1e-4)
                start += len(alone_TV)
                num_compared += 1
    assert num_compared == len(LENGTHS)
    assert len(rows) < len(LENGTHS)


@pytest.mark.parametrize("attention", ["sdpa", BY_DOCUMENT])
def test_loss_of_packed_rows_is_that_of_their_documents_alone(
    tiny_model_folder: Path, tmp_path: Path, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss and its gradients, alone as transformers itself computes them from labels."""
    import torch
    from torch.nn.functional import cross_entropy

    documents = documents_of(LENGTHS)
    together, apart = model_of(tiny_model_folder, attention), model_of(tiny_model_folder, "sdpa")
    monkeypatch.setattr("rcpt_ray.training.attention.MOST_EAGER_TOKENS", 20)  # longer documents take the other way
    batch, _ = packed_batch(documents, tmp_path)
    losses_N = cross_entropy(
        packed_logits(together, batch).flatten(0, 1), torch.from_numpy(batch.target_ids_BT).flatten(), reduction="none"
    )
    is_target_N = torch.from_numpy(batch.target_kind_BT).flatten() > 0
    num_targets = sum(length - 1 for length in LENGTHS)
    assert int(is_target_N.sum()) == num_targets
    packed_loss = (losses_N * is_target_N).sum() / num_targets
    packed_loss.backward()
    loss_alone = 0.0
    for ids in tokens_alone(documents).values():
        ids_T = torch.from_numpy(ids)[None]
        loss = apart(input_ids=ids_T, labels=ids_T, use_cache=False).loss * (len(ids) - 1) / num_targets
        loss.backward()
        loss_alone += loss.item()
    assert packed_loss.item() == pytest.approx(loss_alone, abs=1e-4)
    for here, there in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(here.grad, there.grad, rtol=0, atol=1e-4)


def test_models_with_windows_or_soft_caps_are_not_attended_by_document(tiny_model_folder: Path) -> None:
    import torch
    import transformers

    hf: Any = transformers
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 100}
    torch.manual_seed(3)
    assert can_attend_by_document(model_of(tiny_model_folder, "sdpa"))
    assert not can_attend_by_document(hf.Gemma2ForCausalLM(hf.Gemma2Config(**sizes)))
    assert not can_attend_by_document(hf.MistralForCausalLM(hf.MistralConfig(**sizes, sliding_window=4)))


def test_saved_model_knows_nothing_of_it(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = model_of(tiny_model_folder, BY_DOCUMENT)
    model.save_pretrained(tmp_path)
    assert BY_DOCUMENT not in (tmp_path / "config.json").read_text()
