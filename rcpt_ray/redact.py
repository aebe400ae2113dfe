"""What no screen, log or file of ours may show: secrets, and characters that would steer a terminal.

A secret is the value of an environment variable whose name says so, and what stands where URLs, headers and tokens of
known shapes hold one. Recipes are checked for them before anything is written (`refuse_secrets`); what libraries say,
which may quote a URL or a header, passes `redacted` on its way to the screen, the log and failure.json.

Limit: a secret that is neither in the environment nor of a known shape is a word like any other.
Price: 0.2 milliseconds a line, of which most goes into looking through the environment.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TextIO
from urllib.parse import quote

from rcpt_ray.errors import UserError

_GONE = "***"
_LEAST_CHARACTERS = 8
_LONGEST_LINE = 2000
_SAYS_SECRET = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|CREDENTIALS|KEY)$")
_NOT_ITSELF = {"PATH", "FILE", "DIR", "FOLDER", "MODE", "TYPE", "NAME", "VARIABLE"}
"""Last words of names of variables that tell where a secret is, or of what sort."""
_URL_USER = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")
_IN_QUERY = re.compile(
    r"([?&;](?:[\w.-]*[_.-])?(?:api|access|auth)?(?:token|signature|sig|secret|password|credential|key)=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_IN_HEADER = re.compile(
    r"((?:authorization|x-api-key|api-key)[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?+)[^\s\"',;]{4,}", re.IGNORECASE
)
_MAY_BE_HEADER = re.compile("[Aa]uthorization|[Aa][Pp][Ii]-[Kk]ey")
_SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16}|gh[opsur]_\w{20,}|xox[a-z]-[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_RANDOM = re.compile(r"(?=[A-Za-z]*\d)(?:(?=[a-z\d]*[A-Z])[A-Za-z\d]{12,}|[a-f\d]{32,})")
"""The part of a key of OpenAI's form that no name has: digits and capitals mixed, or a long number in hexadecimal."""
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and new line, and marks that turn the direction of writing."""


def redacted(text: str) -> str:
    """The text with *** for every secret; what is redacted stays as it is when it passes once more.

    >>> redacted("GET https://user:pass@host/v1?X-Amz-Signature=0a1b")
    'GET https://***@host/v1?X-Amz-Signature=***'
    """
    if len(text) < _LEAST_CHARACTERS:
        return text
    for value in _secret_values():
        if value in text:
            text = text.replace(value, _GONE)
    if "://" in text:
        text = _IN_QUERY.sub(rf"\1{_GONE}", _URL_USER.sub(_GONE, text))
    if _MAY_BE_HEADER.search(text):
        text = _IN_HEADER.sub(rf"\1{_GONE}", text)
    return _SHAPES.sub(_without_key, text)


def printable(text: str) -> str:
    r"""The text as a terminal may show it: without secrets, control characters as their codes.

    >>> printable("\x1b[2Jgone")
    '\\x1b[2Jgone'
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), redacted(text))


def one_line(text: str) -> str:
    r"""The same on one line of at most 2,000 characters.

    >>> one_line("a\nb")
    'a b'
    """
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."


def refuse_secrets(values: Any) -> None:
    """UserError where a text among settings holds a secret; the sentence does not repeat it."""
    texts = list(_texts(values, ()))
    whole = "\n".join(text for _, text in texts)
    if redacted(whole) == whole:
        return
    for path, text in texts:
        if redacted(text) != text:
            where = redacted(".".join(path)) or "the recipe"
            raise UserError(
                f"{where} holds a user, password, key or token; recipes are recorded, so give it by the environment "
                "(docs/security.md)"
            )


def says_secret(name: str) -> bool:
    """Whether an environment variable of this name holds a secret: HF_TOKEN does, RAY_AUTH_TOKEN_PATH does not."""
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    return bool(words) and words[-1] not in _NOT_ITSELF and any(_SAYS_SECRET.search(word) for word in words)


class Redacting:
    """A stream of text that passes on what is written to it without secrets, and is that stream in all else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Pass on a text."""
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, texts: Any) -> None:
        """Pass on several."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _without_key(shape: re.Match[str]) -> str:
    """What is shown of a text of a known shape: all of it where it is only a name, such as sk-wikipedia-corpus-2024."""
    is_name = shape[0].startswith("sk-") and not any(map(_RANDOM.match, re.split("[_-]", shape[0])))
    return shape[0] if is_name else _GONE


def _texts(values: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text among settings, names of settings too, with where it stands."""
    match values:
        case Mapping():
            for key, value in values.items():
                yield path, str(key)
                yield from _texts(value, (*path, str(key)))
        case list():
            for value in values:
                yield from _texts(value, path)
        case str():
            yield path, values


def _secret_values() -> tuple[str, ...]:
    """Values of secret variables, and as a URL writes them, the longest first."""
    held = tuple(value for name, value in os.environ.items() if len(value) >= _LEAST_CHARACTERS and _is_secret(name))
    return _in_all_forms(held)


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    return says_secret(name)


@lru_cache(maxsize=16)
def _in_all_forms(values: tuple[str, ...]) -> tuple[str, ...]:
    # A variable such as SSL_KEY may name a file; what is told of a file is no secret.
    real = [value for value in values if not (value.startswith("/") and os.path.exists(value))]
    forms = {form for value in real for form in (value, quote(value, safe=""), *value.splitlines())}
    return tuple(sorted((form for form in forms if len(form) >= _LEAST_CHARACTERS), key=len, reverse=True))
