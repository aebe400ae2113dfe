"""Open a page in a real headless Chromium, without a network, and hand back what it made of it."""

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@dataclass(frozen=True)
class Page:
    """A page after it was loaded: its DOM as HTML, the CONSOLE lines, a picture of its upper part if asked."""

    dom: str
    console: list[str]
    screenshot: Path


def open_page(path: Path, tmp: Path, size: str = "1280,2000", dark: bool = False, picture: bool = True) -> Page:
    """Load a local HTML file, a second time for its picture; skips the test where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("/usr/bin/chromium")
    if chromium is None:
        pytest.skip("chromium is not on the PATH; install it to test the page in a browser")
    screenshot = Path(tempfile.mkdtemp(dir=tmp)) / "page.png"
    look = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [chromium, *_FLAGS, look, f"--window-size={size}", f"file://{path.absolute()}"]
    dom, log = _run([*command, "--dump-dom"], tmp)
    if picture:
        log += _run([*command, f"--screenshot={screenshot}"], tmp)[1]
    return Page(dom, [line for line in log.splitlines() if "CONSOLE" in line], screenshot)


def _run(command: list[str], tmp: Path, timeout_s: float = 120.0) -> tuple[str, str]:
    """Run the browser with an empty profile in a process group of its own, which is killed when time is up."""
    profile = tempfile.mkdtemp(dir=tmp)
    browser = subprocess.Popen(
        [*command, f"--user-data-dir={profile}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        dom, log = browser.communicate(timeout=timeout_s)
    finally:
        if browser.poll() is None:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.communicate()
    assert browser.returncode == 0, log[-2000:]
    return dom, log
