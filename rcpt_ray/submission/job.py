"""The job itself, on the cluster: `python -m rcpt_ray.submission.job VERB RECIPE [key=value ...]`.

It finds the secrets that were named for it, then runs a command of rcpt; jobs/*.py are the same with a fixed verb.
"""

import sys
from collections.abc import Sequence

from rcpt_ray.cli import main
from rcpt_ray.errors import UserError
from rcpt_ray.redact import one_line
from rcpt_ray.submission.secrets import load_secrets


def run_job(verb: str, arguments: Sequence[str]) -> int:
    """Run one command to its end; returns its exit code."""
    try:
        load_secrets()
    except UserError as mistake:
        print(f"rcpt: {one_line(str(mistake))}", file=sys.stderr)
        return 2
    return main([verb, *arguments])


if __name__ == "__main__":
    sys.exit(run_job(sys.argv[1], sys.argv[2:]))
