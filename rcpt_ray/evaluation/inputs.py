"""What a recipe's tasks need, looked at before anything is made: files, questions, shots, names of lm-eval."""

import re
from importlib.util import find_spec
from pathlib import Path

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.files import task_digests
from rcpt_ray.evaluation.gsm8k import read_problems
from rcpt_ray.evaluation.questions import read_task
from rcpt_ray.evaluation.spec import Gsm8kTask, StockTask, TaskSpec


def check_task(name: str, spec: TaskSpec) -> dict[str, str]:
    """Read a task's questions once; the digests of its files by name.

    Raises:
        UserError: a file is missing, a question breaks its layout, there are fewer examples than shots, or lm-eval has
            no task of a name.
    """
    setting = f"evaluation.tasks.{name}"
    match spec:
        case StockTask():
            _require_name(setting, spec.name)
        case Gsm8kTask():
            read_problems(setting, spec)
        case _:
            read_task(setting, spec)
    return task_digests(name, setting, spec)


def _require_name(setting: str, name: str) -> None:
    """UserError unless a file of lm-eval's tasks names the task, group or tag; its whole index would take longer."""
    package = find_spec("lm_eval")
    if package is None or not package.submodule_search_locations:
        raise UserError(f"{setting}.name={name} needs lm-eval, which is not installed; install rcpt-ray[pipeline]")
    line = re.compile(rf"""^[\s"']*(?:(?:task|group|tag)["']?\s*:|-)[\s"'\[]*{re.escape(name)}["'\],\s]*$""", re.M)
    folder = Path(package.submodule_search_locations[0]) / "tasks"
    if not any(line.search(file.read_text(encoding="utf-8")) for file in folder.rglob("*yaml")):
        raise UserError(f"{setting}.name={name} is no task of lm-eval; see `lm-eval ls tasks`")
