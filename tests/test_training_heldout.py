"""Held-out bits per byte while training are those of the evaluation, on documents and windows that never change."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_fixtures import start_texts
from watched_training import be_one_rank, make_heldout, make_job, make_mixture, trained

from rcpt_ray.artifacts import write_table
from rcpt_ray.records import DOCUMENT
from rcpt_ray.training.head import add_losses
from rcpt_ray.training.heldout import HeldoutMeter, choose_documents, cut_windows, group_windows
from rcpt_ray.training.row_file import read_rows


def test_held_out_bits_are_those_of_the_evaluation(tiny_model_folder: Path, tmp_path: Path) -> None:
    """By lm-eval itself, short texts and one that needs windows; the tokenizer puts a start token before a text."""
    from rcpt_ray.evaluation.job import EvaluationJob
    from rcpt_ray.evaluation.run import evaluate
    from rcpt_ray.evaluation.spec import EvaluationSpec

    texts = {"law": ["Held.", "The appeal fails. " * 9], "stem": ["Ω is a set: <|im_end|>", "n + 1 is odd."]}
    heldout, model = make_heldout(tmp_path, texts), start_texts(tiny_model_folder, tmp_path / "model")
    watch = {"heldout_every_steps": 1, "heldout_max_length_tokens": 16}
    job = make_job(tmp_path / "job", model, make_mixture(tmp_path, 4), heldout, watch=watch)
    found = {row["domain"]: row["bits_per_byte"] for row in read_rows(trained(job) / "heldout.jsonl")[:2]}
    spec = EvaluationSpec(max_length_tokens=16, precision="fp32", batch_size=2)
    evaluate(EvaluationJob(spec, str(model), heldout, tmp_path, seed=1))
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    for domain in texts:
        own = [(score["value"] * score["weight"], score["weight"]) for score in scores if score["domain"] == domain]
        expected = sum(bits for bits, _ in own) / sum(num_bytes for _, num_bytes in own)
        assert found[domain] == pytest.approx(expected, rel=1e-5)


def test_the_same_held_out_documents_are_chosen_whatever_else_there_is(tmp_path: Path) -> None:
    rows = [
        {"doc_id": f"d{n}", "source": "web", "domain": "law", "text": f"text {n}", "num_words": 2} for n in range(40)
    ]
    for number, part in enumerate((rows[:25], rows[25:], rows[::-1])):
        write_table(tmp_path / f"{number}.parquet", pa.Table.from_pylist(part, schema=DOCUMENT))
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    chosen = choose_documents(files[:2], 10)["law"]
    assert len(set(chosen)) == 10 and choose_documents(files[2:], 10)["law"] == chosen
    assert choose_documents(files[2:], 4)["law"] == chosen[:4]
    assert choose_documents(files[:1], 99)["law"] != chosen and len(choose_documents(files[:1], 99)["law"]) == 25


def test_windows_predict_every_token_once_and_passes_are_a_multiple_of_the_ranks() -> None:
    token_ids = list(range(100, 137))
    windows = cut_windows(token_ids, prefix_id=1, max_length=10, domain=0)
    predicted = [token for window in windows for token in window.token_ids[-window.num_predicted :]]
    assert predicted == token_ids and windows[0].token_ids[0] == 1
    assert all(len(window.token_ids) <= 11 for window in windows)
    groups = group_windows([*windows, *cut_windows([5, 6, 7], 1, 10, 1)], max_tokens=20, num_ranks=4)
    assert len(groups) % 4 == 0 and sum(map(len, groups)) == len(windows) + 1
    assert all(len(group) * (len(group[0].token_ids) - 1) <= 20 for group in groups if group)


def test_two_ranks_measure_what_one_does(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """Each rank's share is measured here one after the other; the sum over ranks is then left to add."""
    import torch
    from transformers import AutoModelForCausalLM

    be_one_rank()
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_model_folder, dtype=torch.float32)
    add_losses(model, "torch")
    measured = {"heldout_every_steps": 4}
    job = make_job(tmp_path, tiny_model_folder, *inputs, num_workers=2, watch=measured)
    shares = [HeldoutMeter(job, rank).measure(model, 0) for rank in range(2)]
    whole = HeldoutMeter(make_job(tmp_path, tiny_model_folder, *inputs, watch=measured), 0).measure(model, 0)
    for first, second, both in zip(*shares, whole, strict=True):
        assert first["bits_per_byte"] + second["bits_per_byte"] == pytest.approx(both["bits_per_byte"], rel=1e-6)
