"""Datasets of the Hugging Face hub: which files a subset and a split consist of.

`datasets` reads the dataset's card and says which files; they are then read like the files of a store, by ranges of
bytes, through huggingface_hub's own file system. So nothing is downloaded that is not read, row groups of one big file
go to several workers, and code of a dataset is never run. Gated datasets need the environment's HF_TOKEN.
"""

import re
from typing import Any

from rcpt_ray.corpus.reading.files import ENDINGS, SourceFile, format_of
from rcpt_ray.corpus.reading.object_store import first_words
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError

_PATHS_AT_ONCE = 500


def list_hub_files(setting: str, spec: SourceSpec) -> list[SourceFile]:
    """The files of a source's subset and split, in the dataset's order, at one commit.

    `setting` is what the source is called in the recipe, for the words of an error.

    Raises:
        UserError: the dataset, subset, split or revision is not there, or the hub does not answer.
    """
    dataset = spec.path.removeprefix("hf://").strip("/")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
        raise UserError(f"{setting}.path={spec.path} names no dataset; write hf://owner/name")
    try:
        return _list(setting, dataset, spec)
    except UserError:
        raise
    except Exception as error:
        # datasets, huggingface_hub and httpx raise many kinds; each is about what was asked for or about the network.
        asked = ", ".join(
            f"{key}={value}" for key in ("subset", "revision") if (value := getattr(spec, key)) is not None
        )
        raise UserError(
            f"{setting}.path={spec.path}{f' ({asked})' if asked else ''} cannot be read from the hub: "
            f"{_reason(error)}; look at the name, at HF_TOKEN and at the network, or give a local copy"
        ) from None


def _reason(error: Exception) -> str:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if "GatedRepoError" in kinds:
        return "it is gated, and this machine's token has no access"
    if "RepositoryNotFoundError" in kinds:
        return "there is no such dataset, or it is private"
    if "RevisionNotFoundError" in kinds:
        return "there is no such revision"
    return first_words(error)


def _list(setting: str, dataset: str, spec: SourceSpec) -> list[SourceFile]:
    from datasets import load_dataset_builder
    from huggingface_hub import HfApi

    api = HfApi()
    commit = api.dataset_info(dataset, revision=spec.revision).sha
    builder = load_dataset_builder(dataset, name=spec.subset, revision=commit)
    splits: dict[str, Any] = {str(split): files for split, files in (builder.config.data_files or {}).items()}
    if spec.split not in splits:
        raise UserError(f"{setting}.split={spec.split} is not in {spec.path}, which has {', '.join(splits) or 'none'}")
    paths = [str(path) for path in splits[spec.split]]
    roots = {path.removeprefix("hf://datasets/").split("@")[0] for path in paths}
    if roots != {dataset}:
        # A folder of this name in the working directory would be read instead of the hub.
        raise UserError(f"{setting}.path={spec.path} is shadowed by a local folder {dataset}; give its path instead")
    for path in paths:
        if format_of(path)[0] not in ENDINGS:
            raise UserError(
                f"{setting}.path={spec.path} holds {path.rsplit('/', 1)[-1]}, which is not read; set "
                f"{setting}.revision=refs/convert/parquet to take the hub's own copy in Parquet"
            )
    return _with_sizes(api, dataset, paths)


def _with_sizes(api: Any, dataset: str, paths: list[str]) -> list[SourceFile]:
    """The files with their sizes and the ids of their contents."""
    revision = paths[0].removeprefix(f"hf://datasets/{dataset}@").split("/")[0]
    root = f"hf://datasets/{dataset}@{revision}/"
    inside = [path.removeprefix(root) for path in paths]
    known: dict[str, Any] = {}
    for first in range(0, len(inside), _PATHS_AT_ONCE):
        some = inside[first : first + _PATHS_AT_ONCE]
        known |= {info.path: info for info in api.get_paths_info(dataset, some, revision=revision, repo_type="dataset")}
    return [SourceFile(f"{root}{path}", known[path].size, known[path].blob_id, path) for path in inside]
