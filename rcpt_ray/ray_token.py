"""Where Ray looks for its token, in its own order (Ray 2.60, ray-security/token-auth).

RAY_AUTH_TOKEN holds it, else RAY_AUTH_TOKEN_PATH names its file, else the file is ~/.ray/auth_token.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TokenSource:
    """The place that counts; whether there is a token is another matter."""

    variable: str | None
    """The environment variable that the user set; None is Ray's own file."""
    file: Path | None
    """None where the variable holds the token itself."""

    @property
    def words(self) -> str:
        """What it is called in a sentence, without the token."""
        if self.file is None:
            return str(self.variable)
        return f"{self.variable}={self.file}" if self.variable else str(self.file)


def home_file() -> Path:
    """The file of this user that Ray reads where no variable is set."""
    return Path.home() / ".ray" / "auth_token"


def token_source() -> TokenSource:
    """Where Ray would look now."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return TokenSource("RAY_AUTH_TOKEN", None)
    if named := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return TokenSource("RAY_AUTH_TOKEN_PATH", Path(named))
    return TokenSource(None, home_file())
