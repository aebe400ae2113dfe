"""Where a Ray of our own puts its files, and where Ray looks for its token; nothing is started."""

from pathlib import Path

import pytest

from rcpt_ray.errors import UserError
from rcpt_ray.local_on_ray import LocalRay
from rcpt_ray.ray_token import token_source


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (
            "/tmp/much-too-long-for-sockets",
            "has more than the 14 characters that leave room for the paths",
        ),
        ("/none-there", "must be a folder for Ray's sockets .No such file or directory."),
        ("/dev/null", "must be a folder for Ray's sockets .Not a directory."),
    ],
)
def test_folder_that_cannot_be_used_is_refused_in_a_sentence(
    folder: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", folder)
    with pytest.raises(UserError, match=f"RAY_TMPDIR={folder} {said}.*; give a short path .*, or unset RAY_TMPDIR"):
        LocalRay(1)


def test_token_is_looked_for_in_rays_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere/token")
    told = []
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "none"):
        told.append(token_source().words)
        monkeypatch.delenv(name, raising=False)
    assert told == ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH=/somewhere/token", f"{tmp_path}/.ray/auth_token"]
