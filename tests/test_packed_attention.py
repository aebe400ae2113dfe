"""Documents packed into one row do not see each other: each has the logits that it has alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import pack
from rcpt_ray.mixture.tokenize import TokenizedDocument
from rcpt_ray.training.feed import PackedFeed

ROW_TOKENS = 48
LENGTHS = (20, 15, 48, 9, 30, 7)


@pytest.fixture(scope="module")
def documents() -> list[TokenizedDocument]:
    """Random tokens; two rows of several documents, one full row of a single one."""
    drawn = np.random.default_rng(11)
    ids = [drawn.integers(4, 1000, length).astype(np.int32) for length in LENGTHS]
    return [TokenizedDocument(f"d{n}", each, np.ones(len(each), np.int8)) for n, each in enumerate(ids)]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_of_a_packed_row_are_those_of_its_documents_alone(
    tiny_model_folder: Path, tmp_path: Path, documents: list[TokenizedDocument], attention: str
) -> None:
    """As the training loop calls the model: by position ids, without a mask and without a cache."""
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_model_folder, dtype=torch.float32, attn_implementation=attention).train()
    model.config.use_cache = False
    rows = pack(documents, ROW_TOKENS, padding_id=3)
    write_table(tmp_path / "part-0.parquet", rows)
    batch = PackedFeed([tmp_path / "part-0.parquet"]).batch(list(range(len(rows))))
    by_name = {document.doc_id: document for document in documents}
    num_compared = 0
    with torch.no_grad():
        packed_BTV = model(
            input_ids=torch.from_numpy(batch.input_ids_BT),
            position_ids=torch.from_numpy(batch.position_ids_BT),
            use_cache=False,
        ).logits
        for row_TV, names in zip(packed_BTV, rows["doc_ids"].to_pylist(), strict=True):
            start = 0
            for name in names:
                ids = torch.from_numpy(by_name[name].ids_N.astype(np.int64))[None]
                alone_TV = model(input_ids=ids, use_cache=False).logits[0]
                torch.testing.assert_close(row_TV[start : start + len(alone_TV)], alone_TV, rtol=0, atol=1e-4)
                start += len(alone_TV)
                num_compared += 1
    assert num_compared == len(LENGTHS)
    assert len(rows) < len(LENGTHS)
