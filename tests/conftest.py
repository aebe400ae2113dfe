"""What several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcpt_ray.tiny_model import make_tiny_llama

_LONG_FILES = (
    "test_kill_and_resume.py",
    "test_stream_run.py",
    "test_job_submit.py",
    "test_sweep_run.py",
    "test_paper_recipe.py",
    "test_synthesis_failures.py",
    "test_workers.py",
    "test_real_corpus.py",
    "test_synthesis_reuse.py",
    "test_training_guard.py",
    "test_synthesis_kills.py",
)
"""Files that take a minute or more, the longest first: begun last, one would keep the others waiting."""
_OF_A_RANK = ("DS_ACCELERATOR", "LOCAL_RANK", "RANK", "WORLD_SIZE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, all others in their order."""
    place = {name: number for number, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True, scope="module")
def no_rank_is_left() -> Iterator[None]:
    """What a test file told its process of ranks is not told to the commands that the next one starts."""
    yield
    for name in _OF_A_RANK:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with its tokenizer, made once a session; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_llama(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """A mixture and held-out documents."""
    from watched_training import make_heldout, make_mixture

    folder = tmp_path_factory.mktemp("inputs")
    return make_mixture(folder), make_heldout(folder)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads of small products wait for each other longer than they multiply."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
