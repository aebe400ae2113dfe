"""The commands about jobs as the command line knows them; light, because every `rcpt` reads it."""

import argparse
from collections.abc import Callable, Sequence

VERBS = ("submit", "attach", "stop", "jobs")


def add_verbs(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    add_recipe: Callable[[argparse.ArgumentParser], None],
    job_verbs: Sequence[str],
) -> None:
    """Add the commands; `job_verbs` are those that a job may run."""
    submit = verbs.add_parser("submit", help="run a recipe as a job on a Ray cluster, and follow it")
    add_recipe(submit)
    submit.add_argument(
        "--verb",
        dest="job_verb",
        choices=job_verbs,
        default="run",
        help="the command that the job runs (run); it gets settings but none of its own flags, such as sweep's --apply",
    )
    submit.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable such as HF_TOKEN whose value each machine has; may be given several times",
    )
    submit.add_argument("--python", default="python", metavar="PATH", help="the Python of the cluster (python)")
    submit.add_argument("--detach", action="store_true", help="do not follow the job")
    attach = verbs.add_parser("attach", help="follow a job from the beginning of its log to its end")
    stop = verbs.add_parser("stop", help="end a job and wait until it is over")
    for verb in (attach, stop):
        verb.add_argument("job", metavar="JOB", nargs="?", help="its name; the only one that runs where none is given")
    jobs = verbs.add_parser("jobs", help="the jobs of a Ray cluster")
    for verb in (submit, attach, stop, jobs):
        verb.add_argument(
            "--address", metavar="URL", help="the dashboard (RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)"
        )


def run_verb(options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code."""
    from rcpt_ray.submission import command

    match options.verb:
        case "submit":
            return command.submit(
                options.recipe,
                options.overrides,
                verb=options.job_verb,
                address=options.address,
                secrets=options.secret,
                python=options.python,
                detach=options.detach,
            )
        case "attach":
            return command.attach(options.job, options.address)
        case "stop":
            return command.stop(options.job, options.address)
        case _:
            return command.list_jobs(options.address)
