"""Secrets of a job by their names: each process finds the values where it runs, and they are written nowhere.

What Ray is told of a job's environment stands in its control store, in the dashboard, in logs and in the answers of the
job API, so only names go that way (`RCPT_SECRETS=HF_TOKEN,WANDB_API_KEY`). The value of a name is looked for in the
process's own environment, which is that of `ray start` on its machine, then in the file of that name in
$RCPT_SECRETS_DIR or, where that is not set, in /run/secrets and ~/.rcpt/secrets; a file that others may read or write
is refused. From then on it stands in the process's environment, where the libraries look for it.

The job's driver looks when it begins. Workers look when their process starts, by Ray's `worker_process_setup_hook`
(`HOOK`): this reaches tasks, actors, and the workers of Ray Data, Train and Tune alike. A hook that raises would have
Ray start the process again and again, so a secret that is missing on one machine is told when work comes there: workers
call `load_secrets` once more.
"""

import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from rcpt_ray.errors import UserError

NAMES = "RCPT_SECRETS"
"""The environment variable with the names, separated by commas."""
FOLDER = "RCPT_SECRETS_DIR"
HOOK = "rcpt_ray.submission.secrets.load_in_worker"
_FOLDERS = ("/run/secrets", "~/.rcpt/secrets")
_MOST_BYTES = 64 * 2**10
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_NOT_SECRETS = ("RAY_", "RCPT_", "PYTHON", "LD_", "PATH")


def checked_names(names: Iterable[str]) -> list[str]:
    """The names, each once.

    Raises:
        UserError: a name is none of an environment variable, or one that would change how processes start. A value
            that stands behind it by mistake is not repeated.
    """
    found: dict[str, None] = {}
    for given in names:
        name, is_value, _ = given.partition("=")
        if is_value:
            raise UserError(
                f"--secret {name if re.fullmatch(r'[A-Za-z0-9_]+', name) else 'NAME'}=... holds a value; give the name "
                "alone and have the value in the environment of Ray's processes or in a file on each machine"
            )
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UserError("--secret must be the name of an environment variable, such as HF_TOKEN; correct it")
        if name.startswith(_NOT_SECRETS):
            raise UserError(f"--secret {name} would change how processes start; give another name")
        found[name] = None
    return list(found)


def load_secrets() -> None:
    """Have each secret that is named in $RCPT_SECRETS in this process's environment; again does no harm.

    Raises:
        UserError: a secret is nowhere on this machine, or in a file that cannot be used.
    """
    for name in checked_names(filter(None, os.environ.get(NAMES, "").split(","))):
        # Of a variable that was made of a file, a last end of line is no part.
        os.environ[name] = os.environ.get(name, "").rstrip("\r\n") or _from_files(name)


def load_in_worker() -> None:
    """The same for Ray's hook; what is missing is told in the worker's log alone."""
    try:
        load_secrets()
    except UserError as missing:
        print(f"rcpt: {missing}", file=sys.stderr, flush=True)


def _from_files(name: str) -> str:
    folders = [os.environ[FOLDER]] if os.environ.get(FOLDER) else list(_FOLDERS)
    for folder in folders:
        file = Path(folder).expanduser() / name
        try:
            return _value_in(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UserError(
                f"secret {name}: {file} cannot be read ({error.strerror}); let Ray's user read it"
            ) from None
    raise UserError(
        f"secret {name} is nowhere on the machine {os.uname().nodename}, neither in the environment of Ray's processes "
        f"nor as a file in {' or '.join(folders)}; put it there on every machine, or leave --secret {name} out"
    )


def _value_in(file: Path) -> str:
    with file.open("rb") as opened:
        # Of the file that was opened: a name may come to mean another one meanwhile.
        if os.fstat(opened.fileno()).st_mode & _OTHERS:
            raise UserError(f"secret {file.name}: others may read or write {file}; run chmod 600 on it")
        content = opened.read(_MOST_BYTES + 1)
    try:
        value = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(f"secret {file.name}: {file} is no text; write the value into it and nothing else") from None
    if not value or "\0" in value or len(content) > _MOST_BYTES:
        raise UserError(f"secret {file.name}: {file} is empty or no value; write the value into it and nothing else")
    return value
