"""An S3 server on loopback for tests: moto in a process of its own, and a bucket that is filled through pyarrow."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pa_fs

_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.disable()
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextlib.contextmanager
def object_store() -> Iterator[str]:
    """Start a server and give its endpoint; it ends with the block, or with the process that started it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port, "the S3 server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        process.stdin.close()
        process.stdout.close()


def upload(endpoint: str, folder: Path, bucket: str) -> None:
    """Create a bucket and copy a folder into it."""
    store = pa_fs.S3FileSystem(
        access_key="test", secret_key="test", region="us-east-1", endpoint_override=endpoint, allow_bucket_creation=True
    )
    store.create_dir(bucket)
    pa_fs.copy_files(str(folder), bucket, source_filesystem=pa_fs.LocalFileSystem(), destination_filesystem=store)
