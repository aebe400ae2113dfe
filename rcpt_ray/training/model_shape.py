"""What the memory of a training depends on, read from a model's folder without loading the model.

Parameters are counted in the headers of the safetensors files, which is exact for any architecture; sizes of a layer
come from config.json. Price: a few kilobytes are read.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Size = tuple[int, ...]


@dataclass(frozen=True)
class LayerShape:
    """Sizes of a transformer's layers, in numbers."""

    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head: int
    intermediate: int
    """Width of the feed-forward part that a token goes through: of all experts chosen for it."""


@dataclass(frozen=True)
class ModelShape:
    """A model's tensors by name, and what config.json says."""

    tensors: Mapping[str, Size]
    vocabulary: int
    context_tokens: int | None
    layer: LayerShape | None
    """None where config.json names its sizes in another way than ours."""

    @property
    def num_parameters(self) -> int:
        """All parameters; tied ones count once."""
        return sum(map(math.prod, self.tensors.values()))

    def num_adapter_parameters(self, rank: int, target_modules: str) -> int:
        """Parameters of low-rank adapters: rank x (in + out) for each linear layer that gets one (arXiv 2106.09685)."""
        return sum(
            rank * sum(size)
            for name, size in self.tensors.items()
            if len(size) == 2 and _gets_adapter(name, target_modules)
        )


def read_model_shape(folder: Path) -> ModelShape:
    """The shape of the model in a folder that `resolve_model` gave."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    text = config.get("text_config") or config
    return ModelShape(
        tensors=_tensors(folder),
        vocabulary=int(text.get("vocab_size") or config.get("vocab_size") or 0),
        context_tokens=text.get("max_position_embeddings") or text.get("n_positions"),
        layer=_layer(text),
    )


def _layer(config: Mapping[str, Any]) -> LayerShape | None:
    def first(*names: str) -> int | None:
        return next((int(config[name]) for name in names if config.get(name)), None)

    layers, hidden = first("num_hidden_layers", "n_layer"), first("hidden_size", "n_embd")
    heads = first("num_attention_heads", "n_head")
    if layers is None or hidden is None or heads is None:
        return None
    experts = first("num_experts_per_tok")
    width = first("moe_intermediate_size") if experts else None
    intermediate = (experts or 1) * (width or first("intermediate_size", "n_inner") or 4 * hidden)
    kv_heads = first("num_key_value_heads") or heads
    return LayerShape(layers, hidden, heads, kv_heads, first("head_dim") or hidden // heads, intermediate)


def _tensors(folder: Path) -> dict[str, Size]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    else:
        files = [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("adapter_")]
    return {name: size for file in files for name, size in _header(file).items()}


def _header(file: Path) -> dict[str, Size]:
    """Sizes of a file's tensors: 8 bytes hold the length of a JSON that describes them (format of safetensors)."""
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    return {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}


def _gets_adapter(name: str, target_modules: str) -> bool:
    module, _, what = name.rpartition(".")
    if what != "weight":
        return False
    if target_modules == "all-linear":  # peft leaves out the output layer; embeddings are not linear layers
        return not re.search(r"embed|(^|\.)(lm_head|wte|wpe)$", module)
    return re.fullmatch(target_modules, module) is not None
