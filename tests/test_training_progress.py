"""What is said of a training while it runs: rows as they come, and the figures in its words."""

import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rcpt_ray.terminal import Bar
from rcpt_ray.training.flops import ModelSize, gpu_peak, model_size, operations_per_token
from rcpt_ray.training.progress import TrainingProgress
from rcpt_ray.training.row_file import Follower, RowFile


def test_a_follower_sees_each_row_once_also_when_the_file_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    follower, seen = Follower([path]), list[int]()

    def look() -> list[int]:
        seen.extend(row["step"] for row in follower.new_rows())
        return seen

    assert look() == []
    first = RowFile(path, lambda row: True)
    first.append([{"step": 0}, {"step": 1}, {"step": 2}])
    assert look() == [0, 1, 2]
    with path.open("a") as torn:
        torn.write('{"st')
    assert look() == [0, 1, 2]
    again = RowFile(path, lambda row: row["step"] < 1)
    assert again.kept == [{"step": 0}]
    again.append([{"step": 1}, {"step": 2}, {"step": 3}])
    assert look() == [0, 1, 2, 3]
    with pytest.raises(ValueError):
        again.append([{"step": math.nan}])


def test_the_bar_tells_loss_speed_held_out_bits_and_the_time_left(tmp_path: Path) -> None:
    progress = TrainingProgress(Bar(Console(), "training", None), num_steps=100)
    row = {"step": 0, "loss": 2.5, "tokens_per_s": 1234.5, "mfu": 0.412, "seconds": 2.0}
    row |= {"wait_seconds": 0.0, "pause_seconds": 0.0}
    progress.show(row)
    assert progress.words(row) == "loss 2.500, 1,234 tokens/s, MFU 41%, 3 min 18 s left"
    for domain, bits in (("law", 0.9), ("stem", 1.1)):
        progress.show({"step": 1, "domain": domain, "bits_per_byte": bits})
    assert "held-out 1.000 bits/byte" in progress.words(row)


def test_operations_are_those_of_the_papers() -> None:
    """Kaplan et al.: 6 P and 6 L d T for a document of T tokens, whose tokens look at (T + 1) / 2 on average."""
    whole = ModelSize(num_parameters=1_000_000, num_trained=1_000_000, attention_width=24 * 128)
    assert operations_per_token(whole, mean_context=512) == pytest.approx(6e6 + 6 * 24 * 128 * 1024)
    adapters = ModelSize(num_parameters=1_010_000, num_trained=10_000, attention_width=0)
    assert operations_per_token(adapters, mean_context=512) == 4 * 1_000_000 + 6 * 10_000


def test_a_model_is_counted_without_an_embedding_that_is_only_looked_up(tiny_model_folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto_config: Any = AutoConfig
    auto: Any = AutoModelForCausalLM
    sizes = []
    for tied in (True, False):
        config = auto_config.from_pretrained(tiny_model_folder, tie_word_embeddings=tied)
        with torch.device("meta"):
            sizes.append(model_size(auto.from_config(config)))
    assert sizes[0] == sizes[1]
    assert sizes[0].attention_width == 2 * 2 * 32


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA Nosuch 1", None),
    ],
)
def test_a_card_is_known_by_its_name(name: str, peak: float | None) -> None:
    assert gpu_peak(name) == peak
