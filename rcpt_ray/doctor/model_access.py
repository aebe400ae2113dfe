"""Whether each model of a recipe can be had, without fetching weights.

A folder must be there; a name of `rcpt models list` is made at the first use; a hub id is asked of the hub, with the
token that the hub's library finds, and where the hub is out of reach it must be in the cache.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from rcpt_ray.cache import cache_folder
from rcpt_ray.doctor.check import Check
from rcpt_ray.models import KNOWN_MODELS
from rcpt_ray.recipe import Recipe
from rcpt_ray.settings import ModelSpec

_HUB_S = 5.0


def model_checks(recipe: Recipe) -> Iterator[Check]:
    """The student, and the teacher and judge of each arm that has thoughts written; each model once."""
    for spec, uses in models_of(recipe).items():
        reference, revision, needs_weights = spec
        yield _check(f"model of {' and '.join(uses)}", reference, revision, needs_weights)


def models_of(recipe: Recipe) -> dict[tuple[str, str | None, bool], list[str]]:
    """What each model (reference, revision, whether weights are needed) is used for."""
    found: dict[tuple[str, str | None, bool], list[str]] = {}

    def add(model: ModelSpec, use: str, needs_weights: bool = True) -> None:
        uses = found.setdefault((model.reference, model.revision, needs_weights), [])
        uses += [use] * (use not in uses)

    add(recipe.student, "student")
    for name, arm in recipe.arms.items():
        settings = recipe.arm_settings(name)
        thoughts, mixture = settings.thoughts, settings.mixture
        if not arm.train or not (mixture.needs_thoughts or mixture.needs_paraphrases):
            continue
        if thoughts.engine != "fake":
            add(thoughts.teacher, "teacher", needs_weights=thoughts.engine == "vllm")
        if thoughts.select.needs_gain and thoughts.scores.student is not None:
            add(thoughts.scores.student, "judge")
    return found


def _check(name: str, reference: str, revision: str | None, needs_weights: bool) -> Check:
    path = Path(os.path.expanduser(reference))
    if reference.startswith(("/", "./", "../", "~")) or (path / "config.json").is_file():
        lacks = _lacks(path, needs_weights)
        fix = "give a folder that save_pretrained wrote, on a disk that every node mounts"
        return Check(name, not lacks, f"{reference}: {lacks}" if lacks else f"{reference}, a folder", fix)
    if reference in KNOWN_MODELS:
        made = any((cache_folder() / "models").glob(f"{reference}-*"))
        return Check(name, True, f"{reference}, {'in the cache' if made else 'made at the first use'}")
    return _hub_check(name, reference, revision)


def _lacks(folder: Path, needs_weights: bool) -> str:
    """What a folder lacks to be a model, nothing where it is one."""
    if not folder.is_dir():
        return "no such folder"
    if not (folder / "config.json").is_file():
        return "no config.json"
    if needs_weights and not any(folder.glob("*.safetensors")):
        return "no safetensors weights"
    return ""


def _hub_check(name: str, reference: str, revision: str | None) -> Check:
    import httpx2
    from huggingface_hub import HfApi, errors

    called = reference if revision is None else f"{reference} at {revision}"
    hub = HfApi()
    try:
        hub.model_info(reference, revision=revision, timeout=_HUB_S)
        hub.auth_check(reference)
    except errors.GatedRepoError:
        fix = f"accept its terms at https://huggingface.co/{reference} and set HF_TOKEN to a token of that account"
        return Check(name, False, f"{called} is gated and this token is not let in", fix)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        fix = "mend the name or the revision; a private model needs HF_TOKEN"
        return Check(name, False, f"{called} is not on the hub, or not for this token", fix)
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled) as error:
        where = _in_cache(reference, revision)
        if where:
            return Check(name, True, f"{called}, in the cache; the hub is out of reach")
        fix = f"see to the network, or fetch it where there is one: rcpt models pull {reference}"
        return Check(name, False, f"{called} is not in the cache and the hub is out of reach ({_said(error)})", fix)
    return Check(name, True, f"{called}, open to this token on the hub")


def _in_cache(reference: str, revision: str | None) -> bool:
    """Whether a snapshot lies in our cache or in the hub library's own."""
    from huggingface_hub import try_to_load_from_cache

    caches: tuple[Path | None, ...] = (cache_folder() / "models" / "hub", None)
    return any(
        isinstance(try_to_load_from_cache(reference, "config.json", cache_dir=cache, revision=revision), str)
        for cache in caches
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
