"""The file systems behind paths: this machine, S3, Google Cloud Storage, the Hugging Face hub.

A path with a scheme is bucket and key as they are written, so a key may hold any character. Credentials come from the
environment or the files of the stores' own tools, never from a path: recipes are recorded. Where nobody answers, S3
gives up after 2 to 6 seconds, Google after 5 to 10, and the hub after 1, or 25 in the middle of a file.
"""

import os
import re
from datetime import timedelta
from functools import cache

import pyarrow as pa
import pyarrow.fs as pa_fs

from rcpt_ray.corpus.reading.paths import scheme_of

_CONNECT_S = 5.0
_ANSWER_S = 30.0


def file_system(path: str) -> tuple[pa_fs.FileSystem, str]:
    """The file system of a path, and the path as that file system writes it.

    Raises:
        OSError: the region of a bucket cannot be found.
    """
    scheme = scheme_of(path)
    inner = path if scheme is None else path.removeprefix(f"{scheme}://")
    match scheme:
        case "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
            return _s3(inner.split("/")[0], endpoint, region), inner
        case "gs":
            return _google(), inner
        case "hf":
            return _hub(), inner
        case _:
            return pa_fs.LocalFileSystem(), inner


@cache
def _s3(bucket: str, endpoint: str | None, region: str | None) -> pa_fs.FileSystem:
    # pyarrow does not read the endpoint from the environment (github.com/apache/arrow/issues/49643).
    if region is None:
        region = "us-east-1" if endpoint else pa_fs.resolve_s3_region(bucket)
    return pa_fs.S3FileSystem(
        endpoint_override=endpoint.rstrip("/") if endpoint else None,
        region=region,
        connect_timeout=_CONNECT_S,
        request_timeout=_ANSWER_S,
        retry_strategy=pa_fs.AwsStandardS3RetryStrategy(max_attempts=3),
    )


@cache
def _google() -> pa_fs.FileSystem:
    return pa_fs.GcsFileSystem(retry_time_limit=timedelta(seconds=5))


@cache
def _hub() -> pa_fs.FileSystem:
    from huggingface_hub import HfFileSystem

    return pa_fs.PyFileSystem(pa_fs.FSSpecHandler(HfFileSystem()))


def is_store_error(error: Exception) -> bool:
    """Whether the store or the disk failed, rather than the content of a file.

    pyarrow tells of content by ArrowInvalid and the like, or by a bare OSError without a number, and of S3 and Google
    by a bare OSError too.
    """
    if isinstance(error, pa.ArrowException):
        return False
    words = str(error)
    content = type(error) is OSError and error.errno is None
    return not content or "AWS Error" in words or "google::cloud" in words


def first_words(error: BaseException) -> str:
    """What an error says, on one line of at most 200 characters."""
    lines = str(error).splitlines() or [type(error).__name__]
    words = re.sub(r"^.*?(?=AWS Error|google::cloud)", "", lines[0])
    words = re.sub(r" \(Request ID.*|; Details:.*", "", words).strip().rstrip(".")
    return words if len(words) <= 200 else f"{words[:197]}..."
