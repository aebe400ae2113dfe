"""A model reference becomes a local folder with a checksum and a revision.

A reference is, in this order: a local folder; a name of `KNOWN_MODELS` (carried by a package of the Python index, or
made from a seed); a Hugging Face hub id.

Invariants: a folder that is returned has a config, a tokenizer and safetensors weights. It never needs pickle, nor code
of the model's author unless `trust_remote_code` says that this may be run; then its Python files are in the checksum. A
made folder appears under its final name complete or not at all, so a killed pull is begun again; processes that want
the same model at once wait for one of them. The checksum covers the files that define the model (`_DEFINING`), by name
and content, and nothing else: a README or a log beside them changes nothing.

Price: the first checksum reads every byte (0.2 s for 269 MB); later ones cost one `stat` a file. A pull of
smollm2-135m-instruct downloads 93 MB, writes 269 MB and takes under a minute. What cannot be had is said in seconds.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rcpt_ray.cache import cache_folder, remembered_sha256
from rcpt_ray.errors import UserError
from rcpt_ray.tiny_model import make_tiny_llama, maker_digest
from rcpt_ray.wheel_model import CONVERSION_VERSION, WHEEL_MODELS, make_from_wheel


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this machine's disk."""

    reference: str  # what the recipe asked for
    path: str  # absolute folder
    revision: str  # the hub's commit hash, 'wheel <package>==<version>', 'tiny_model <digest>' or 'local'
    checksum: str  # hex sha256 over names and contents of the files that define the model
    trust_remote_code: bool = False  # whether the recipe lets its own Python files run

    def told(self) -> dict[str, Any]:
        """What provenance tells of it."""
        own = {"trust_remote_code": True} if self.trust_remote_code else {}
        return {"reference": self.reference, "revision": self.revision, "checksum": self.checksum} | own


KNOWN_MODELS = {  # name -> one line about it: what `rcpt models pull NAME` takes
    "smollm2-135m-instruct": "SmolLM2 135M Instruct, dequantized from 4 bits to bfloat16 (Apache-2.0, 269 MB)",
    "tiny-random-llama": "a random Llama of 189,000 parameters for tests (0.5 MB, nothing is downloaded)",
}

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
"""What transformers looks for before it turns to pickled weights."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_DEFINING = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
)


def resolve_model(
    reference: str,
    cache_dir: Path | None = None,
    revision: str | None = None,
    tokenizer_only: bool = False,
    trust_remote_code: bool = False,
) -> ResolvedModel:
    """Bring `reference` onto this machine's disk if it is not there yet, and say what it is.

    `cache_dir` is $RCPT_CACHE, else ~/.cache/rcpt_ray; models lie in its folder `models`. `revision` is a commit, tag
    or branch of the hub; null takes the newest. `tokenizer_only` needs and
    fetches no weights. `trust_remote_code` takes the model's Python files too, for whoever loads it. Every mistake that
    a user can mend raises UserError.
    """
    models = _models_folder(cache_dir or cache_folder())
    local = _local_folder(reference)
    if revision is not None and (local is not None or reference in KNOWN_MODELS):
        raise UserError(f"model {reference!r}: revision {revision!r} is for hub ids alone; leave it out")
    if local is not None:
        folder, revision = local, "local"
    elif wheel := WHEEL_MODELS.get(reference):
        name = f"{reference}-{wheel.version}-{CONVERSION_VERSION}"
        folder = _made_once(models / name, lambda work: make_from_wheel(reference, wheel, work))
        revision = f"wheel {wheel.package}=={wheel.version}"
    elif reference in KNOWN_MODELS:
        digest = maker_digest()
        folder = _made_once(models / f"{reference}-{digest}", lambda work: make_tiny_llama(work / "model"))
        revision = f"tiny_model {digest}"
    else:
        folder = _hub_snapshot(reference, revision, models, _defining(tokenizer_only, trust_remote_code))
        revision = folder.name  # the hub's library names a snapshot's folder by its commit
    _refuse_unfit(reference, folder, tokenizer_only)
    if not trust_remote_code:
        _refuse_code(reference, folder)
    checksum = _checksum(folder, _defining(tokenizer_only, trust_remote_code))
    return ResolvedModel(reference, str(folder), revision, checksum, trust_remote_code)


def _models_folder(cache: Path) -> Path:
    try:
        (cache / "models").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache / "models").close()
    except OSError as error:
        raise UserError(f"cache folder {cache}: {error.strerror}; set RCPT_CACHE to a writable folder") from None
    return cache / "models"


def _local_folder(reference: str) -> Path | None:
    """The folder that `reference` names, or None where it is no path."""
    path = Path(os.path.expanduser(reference))
    is_path = reference.startswith(("/", "./", "../", "~"))
    if is_path and not path.is_dir():
        raise UserError(f"model {reference!r}: a path must name an existing folder; correct it")
    return path.resolve() if is_path or (path / "config.json").is_file() else None


def _refuse_unfit(reference: str, folder: Path, tokenizer_only: bool) -> None:
    """Raise UserError unless `folder` holds a config, a tokenizer and, where wanted, all its safetensors weights."""
    names = {path.name for path in folder.iterdir()}
    weights = {name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_")}
    pickled = {name for name in names if name.endswith((".bin", ".pt", ".pth"))}
    index = folder / "model.safetensors.index.json"
    named = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.is_file() else set()
    if "config.json" not in names:
        lack = "config.json is missing; give a folder that save_pretrained wrote"
    elif not tokenizer_only and (not weights or (pickled and not names.intersection(_WEIGHTS))):
        lack = "safetensors weights are missing (pickle can run code and is not read); save it with save_pretrained"
    elif (missing := sorted(named - names)) and not tokenizer_only:
        lack = f"weight files that its index names are missing, first {missing[0]}; fetch the folder again"
    elif "adapter_config.json" in names:
        lack = "adapter_config.json names another model, which would be loaded instead; merge the adapters"
    elif not names.intersection(_TOKENIZERS):
        lack = f"a tokenizer is missing (one of {', '.join(_TOKENIZERS)}); save the tokenizer into the same folder"
    else:
        return
    raise UserError(f"model {reference!r}: folder {folder} is not a usable model: {lack}")


def _refuse_code(reference: str, folder: Path) -> None:
    """UserError where config.json names a class of the author's for a model that transformers does not know."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except ValueError:
        return  # nobody can load it
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise UserError(
            f"model {reference!r} runs Python files of its author, which is not done unasked; read them, then set "
            "trust_remote_code=true beside its reference, or take another model"
        )


def _defining(tokenizer_only: bool, trust_remote_code: bool = False) -> list[str]:
    patterns = [pattern for pattern in _DEFINING if not (tokenizer_only and "safetensors" in pattern)]
    return [*patterns, *(["*.py"] if trust_remote_code else [])]


def _checksum(folder: Path, defining: list[str]) -> str:
    """Hex sha256 over names and contents of the defining files of `folder`."""
    paths = sorted(p for p in folder.iterdir() if p.is_file() and any(fnmatch.fnmatch(p.name, d) for d in defining))
    return hashlib.sha256("".join(f"{path.name}\0{remembered_sha256(path)}\n" for path in paths).encode()).hexdigest()


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made at the first call: `make(work)` fills `work/model`, which is then renamed into place."""
    from filelock import FileLock

    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            work = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed: the lock is ours
            (work / "model").mkdir(parents=True)
            make(work)
            for file in (work / "model").iterdir():
                shutil.copymode(work / "model" / "config.json", file)  # weights are saved for their owner alone
            os.replace(work / "model", folder)
            shutil.rmtree(work)
    return folder


def _hub_snapshot(reference: str, revision: str | None, models: Path, defining: list[str]) -> Path:
    """The folder of a hub model's snapshot with the files of these names; where the hub is out of reach, one that an
    earlier download left here."""
    import httpx2
    from huggingface_hub import HfApi, errors, snapshot_download

    caches: tuple[Path | None, ...] = (models / "hub", None)  # None: the hub library's own, filled by other tools
    why, online = "the download broke off", True
    try:
        # Asked first, because snapshot_download waits without limit for a hub that does not answer.
        HfApi().model_info(reference, revision=revision, timeout=5.0)
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, errors.HFValidationError) as error:
        why, online = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", False
    for cache in caches[:1] if online else caches:
        with contextlib.suppress(errors.LocalEntryNotFoundError, errors.HFValidationError, httpx2.HTTPError):
            return Path(
                snapshot_download(
                    reference,
                    revision=revision,
                    cache_dir=cache,
                    local_files_only=not online,
                    allow_patterns=defining,
                    ignore_patterns=["*/*"],
                )
            )
    raise UserError(
        f"model {reference!r}: neither a folder with config.json, nor a known name ({', '.join(KNOWN_MODELS)}), nor "
        f"had from the hub at revision {revision or 'main'} ({why}); correct it, set HF_TOKEN, or see to the network"
    )
