"""What a recipe's tasks need, looked at before anything is made: files, questions, shots, names of lm-eval."""

from rcpt_ray.evaluation.files import task_digests
from rcpt_ray.evaluation.gsm8k import read_problems
from rcpt_ray.evaluation.questions import read_task
from rcpt_ray.evaluation.spec import Gsm8kTask, StockTask, TaskSpec
from rcpt_ray.evaluation.stock_source import require_name


def check_task(name: str, spec: TaskSpec) -> dict[str, str]:
    """Read a task's questions once; what its rows depend on by name: digests of files, and of a stock
    task lm-eval's version and the revisions of its datasets.

    Raises:
        UserError: a file is missing, a question breaks its layout, there are fewer examples than shots, or lm-eval has
            no task of a name.
    """
    setting = f"evaluation.tasks.{name}"
    match spec:
        case StockTask():
            require_name(setting, spec.name)
        case Gsm8kTask():
            read_problems(setting, spec)
        case _:
            read_task(setting, spec)
    return task_digests(name, setting, spec)
