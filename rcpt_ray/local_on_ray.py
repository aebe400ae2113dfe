"""A Ray for the length of one command, which nobody else can use.

By itself Ray 2.60 listens on every address of the machine, keeps its sockets and logs in /tmp/ray, where everybody may
write, and writes its token where everybody may read it (~/.ray/auth_token, mode 0644). Here it listens on loopback,
works in a new folder that only this user may enter, and asks for a token that was made for this command and stands in
the environment of its processes alone.

Invariants: RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH win where the user set them; after `stop` environment
and disk are as they were. Price: none that was measured beside the five seconds that Ray takes to start.
"""

import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rcpt_ray.errors import UserError
from rcpt_ray.ray_token import token_source

_OBJECT_STORE_BYTES = 2**30
_MOST_CHARACTERS = 14
"""Of the folder for temporary files: below it, the path of a socket must stay within 107 characters."""


class LocalRay:
    """A Ray that this process started; UserError where RAY_TMPDIR is no folder that it can use."""

    def __init__(self, num_cpus: int | None) -> None:
        import ray
        from ray._private import ray_constants

        self._folder = _new_folder()
        self._before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
        if os.environ.get("RAY_AUTH_MODE", "token") == "token" and token_source().variable is None:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            read_environment()
        # What Ray itself takes on macOS and Windows: one machine, on loopback. It replaces an address of 127.0.0.1 that
        # it is given by the machine's own.
        may_span_machines, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
        try:
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder / "ray"),  # Ray opens its own folder to everybody
            )
        except BaseException:
            self.stop()
            raise
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = may_span_machines

    def stop(self) -> None:
        """End its processes; remove its folder and its token."""
        import ray

        ray.shutdown()
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        read_environment()
        shutil.rmtree(self._folder, ignore_errors=True)


def take_token() -> None:
    """Have this process send the user's token where there is one: for an address that is given Ray does not look."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def asks_for_token() -> bool:
    """Whether the Ray that this process is in was asked to refuse who has no token."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())


def read_environment() -> None:
    """Have Ray's native part, which keeps what it has read, read mode and token again."""
    import ray

    native: Any = ray._raylet
    native.Config.initialize("")
    native.AuthenticationTokenLoader.instance().reset_cache()


def _new_folder() -> Path:
    asked = os.environ.get("RAY_TMPDIR")
    if not asked:
        usual = tempfile.gettempdir()
        return Path(tempfile.mkdtemp(prefix="rcpt-ray-", dir=usual if len(usual) <= _MOST_CHARACTERS else "/tmp"))
    way_out = "give a short path to a folder that is there and that you may write to, or unset RAY_TMPDIR"
    if len(os.path.abspath(asked)) > _MOST_CHARACTERS:
        raise UserError(
            f"RAY_TMPDIR={asked} has more than the {_MOST_CHARACTERS} characters that leave room for the paths of "
            f"Ray's sockets below it; {way_out}"
        )
    try:
        return Path(tempfile.mkdtemp(prefix="rcpt-ray-", dir=os.path.abspath(asked)))
    except OSError as error:
        raise UserError(
            f"RAY_TMPDIR={asked} must be a folder for Ray's sockets ({error.strerror}); {way_out}"
        ) from None
