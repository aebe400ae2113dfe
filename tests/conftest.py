"""What several test files share."""

from pathlib import Path

import pytest

from rcpt_ray.tiny_model import make_tiny_llama


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with its tokenizer, made once a session; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_llama(folder)
    return folder
