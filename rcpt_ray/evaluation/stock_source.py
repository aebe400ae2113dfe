"""What a stock task is made of that no recipe says: lm-eval's version, and the newest revision of its datasets.

Names are looked up in lm-eval's files of tasks as text, because its own index takes ten seconds. The datasets of a name
are those of the folder of its file, which may be more than it uses; a group's tasks in other folders are not followed.
Price: a second and ten megabytes a process for the files, and where no local data is given a question to the hub for
each dataset.
"""

import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.spec import StockTask

_HUB_PATIENCE_S = 10.0
_DATASET = re.compile(r"""^dataset_path\s*:\s*["']?([\w.-]+(?:/[\w.-]+)?)["']?\s*$""", re.M)
_LOADERS = {"json", "csv", "parquet", "text", "arrow"}
"""What stands in place of a dataset where a task has files of its own."""


def stock_inputs(name: str, spec: StockTask) -> dict[str, str]:
    """What the rows of a stock task depend on beside the recipe and local files, by name.

    A revision is the hub's, else the one that was fetched last, else `unknown`.
    """
    inputs = {f"{name}/lm-eval": version("lm-eval")}
    if not spec.data:
        inputs |= {f"{name}/{dataset}": revision_of(dataset) for dataset in datasets_of(spec.name)}
    return inputs


def require_name(setting: str, name: str) -> None:
    """UserError unless a file of lm-eval's tasks names the task, group or tag."""
    if _folder() is None:
        raise UserError(f"{setting}.name={name} needs lm-eval, which is not installed; install rcpt-ray[pipeline]")
    if not files_naming(name):
        raise UserError(f"{setting}.name={name} is no task of lm-eval; see `lm-eval ls tasks`")


def datasets_of(name: str) -> list[str]:
    """The datasets of the hub that the files beside those of a name read, in order of name."""
    folders = {file.parent for file in files_naming(name)}
    near = [text for file, text in _texts().items() if folders & set(file.parents)]
    return sorted({dataset for text in near for dataset in _DATASET.findall(text)} - _LOADERS)


def files_naming(name: str) -> list[Path]:
    """The files that define a task or group, else those that list it or have it as their tag."""
    defines = re.compile(rf"""^(?:task|group)\s*:\s*["']?{re.escape(name)}["']?\s*$""", re.M)
    lists = re.compile(rf"""^[\s"']*(?:(?:task|group|tag)["']?\s*:|-)[\s"'\[]*{re.escape(name)}["'\],\s]*$""", re.M)
    texts = {file: text for file, text in _texts().items() if name in text}
    found = [file for file, text in texts.items() if defines.search(text)]
    return found or [file for file, text in texts.items() if lists.search(text)]


@cache
def revision_of(dataset: str) -> str:
    """The newest commit of a dataset, once a process; offline the one that the hub's cache holds, else `unknown`."""
    from huggingface_hub import HfApi, constants

    try:
        return str(HfApi().dataset_info(dataset, timeout=_HUB_PATIENCE_S).sha)
    except Exception:
        # No access, no network, no such dataset: the task itself will say so when it is loaded.
        folder = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "refs" / "main"
        return folder.read_text(encoding="utf-8").strip() if folder.exists() else "unknown"


@cache
def _texts() -> dict[Path, str]:
    """All of lm-eval's files of tasks."""
    folder = _folder()
    return {} if folder is None else {file: file.read_text(encoding="utf-8") for file in folder.rglob("*yaml")}


def _folder() -> Path | None:
    package = find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        return None
    return Path(package.submodule_search_locations[0]) / "tasks"
