"""Paths as recipes write them."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from rcpt_ray.settings import NOT_IN_FINGERPRINT

_MOST_BYTES, _MOST_NAME_BYTES = 4095, 255


def scheme_of(path: str) -> str | None:
    """The scheme of a path such as s3://bucket/key; None for a path of this machine."""
    matched = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return matched[1] if matched else None


def public_path(path: str) -> str:
    """A path as others may know it: of this machine's, the last name alone."""
    return path if scheme_of(path) else path.rstrip("/").rpartition("/")[2]


def holds_secret(path: str) -> bool:
    """Whether a user, a password or a key stands in a path."""
    return bool(re.match(r"[^/]+://[^/]*@", path) or re.search(r"(access|secret)_key=|password=|token=", path))


def _checked(path: str) -> str:
    if len(path.encode()) > _MOST_BYTES or any(len(part.encode()) > _MOST_NAME_BYTES for part in path.split("/")):
        raise ValueError(f"is longer than a path of {_MOST_BYTES} bytes, or a name of {_MOST_NAME_BYTES}, may be")
    if holds_secret(path):
        # The path itself is not repeated: what is told may stand in a log.
        raise ValueError("holds a user, password or key; recipes are recorded, so give credentials by the environment")
    return path


DataPath = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f]+$"), AfterValidator(_checked), NOT_IN_FINGERPRINT]
"""A file, folder or glob here or in a store; where it is defines no result."""
