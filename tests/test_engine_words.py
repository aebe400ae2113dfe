"""What an engine's processes say on standard error is passed on, and the root of its end is found there."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from rcpt_ray.thoughts.engine_words import EngineWords, capture_errors

CORE_FAILED = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
TRACEBACK = (
    "INFO 11-21 starting a model: no error: none",
    "(EngineCore_DP0 pid=7) Traceback (most recent call last):",
    "(EngineCore_DP0 pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    "(EngineCore_DP0 pid=7) During handling of the above exception, another exception occurred:",
    "\x1b[1;36m(EngineCore_DP0 pid=7)\x1b[0;0m ValueError: Free memory on device (3/80 GiB) is less than desired",
    "(EngineCore_DP0 pid=7) RuntimeError: Engine core initialization failed. See root cause above.",
    "[rank0]: process ends",
)


def child_writes(*lines: str) -> None:
    """A process of the engine's writes to the standard error that it was given."""
    subprocess.run(
        [sys.executable, "-c", f"import os; os.write(2, {chr(10).join([*lines, '']).encode()!r})"], check=True
    )


def heard(lines: Sequence[str]) -> EngineWords:
    """What was heard of a child by the end of a block."""
    with capture_errors() as words:
        child_writes(*lines)
    return words


def passed_on(words: EngineWords, capfd: pytest.CaptureFixture[str]) -> str:
    """What came out, once every writer is gone."""
    words.of(CORE_FAILED)
    return capfd.readouterr().err


def test_what_a_child_writes_is_passed_on_unchanged(capfd: pytest.CaptureFixture[str]) -> None:
    assert passed_on(heard(TRACEBACK), capfd) == "\n".join(TRACEBACK) + "\n"


def test_what_this_process_writes_is_passed_on_in_its_order(capfd: pytest.CaptureFixture[str]) -> None:
    with capture_errors() as words:
        os.write(2, b"before\n")
        child_writes("the child")
        os.write(2, b"after\n")
    assert passed_on(words, capfd) == "before\nthe child\nafter\n"


def test_process_that_outlives_the_block_is_still_heard(capfd: pytest.CaptureFixture[str]) -> None:
    """The engine's own processes write for as long as the engine works."""
    writer = "import os, sys; sys.stdin.read(); os.write(2, b'hours later')"
    with capture_errors() as words:
        process = subprocess.Popen([sys.executable, "-c", writer], stdin=subprocess.PIPE)
    process.communicate()
    assert process.returncode == 0
    assert passed_on(words, capfd) == "hours later"


def test_standard_error_leads_where_it_led_after_the_block_and_after_an_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError), capture_errors() as words:
        raise RuntimeError
    os.write(2, b"directly\n")
    assert passed_on(words, capfd) == "directly\n"
    assert words.of(CORE_FAILED).startswith("RuntimeError: Engine core")


def test_last_error_named_is_the_root_where_the_caller_knows_none() -> None:
    """That the core failed is the caller's own news and no root, also where the core says so itself."""
    root = "ValueError: Free memory on device (3/80 GiB) is less than desired"
    assert heard(TRACEBACK).of(CORE_FAILED) == root
    assert heard(TRACEBACK).of(Exception("WorkerProc initialization failed due to an exception")) == root


def test_root_is_found_while_the_block_still_lasts() -> None:
    """As the engine asks: it raises the words from within."""
    with capture_errors() as words:
        child_writes("(EngineCore_DP0 pid=7) KeyError: 'no_such_layer'")
        assert words.of(CORE_FAILED) == "KeyError: 'no_such_layer'"


def test_error_that_says_what_it_is_keeps_its_own_words() -> None:
    """Whatever else was written: a warning of another error must not take its place."""
    error = OSError("no such model: a/b\n\n   see the list of models\n")
    assert heard(TRACEBACK).of(error) == "OSError: no such model: a/b see the list of models"


def test_caller_speaks_for_itself_where_no_error_was_named() -> None:
    words = heard(["loading", "no error: none", "Killed"])
    assert words.of(CORE_FAILED) == f"RuntimeError: {CORE_FAILED}"


def test_words_without_end_are_cut() -> None:
    assert len(heard([f"ValueError: {'x' * 5000}"]).of(CORE_FAILED)) == len("ValueError: ") + 600
    assert len(heard([]).of(ValueError("x" * 5000))) == len("ValueError: ") + 600
