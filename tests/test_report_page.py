"""The page in a real browser: complete, quiet, closed to the network, and deaf to markup in its data."""

import html
import re
from pathlib import Path

import pytest
from browser import Page, open_page
from report_fixtures import ARMS, HOSTILE, make_inputs

from rcpt_ray.report.write import write_report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    write_report(make_inputs(), folder)
    return open_page(folder / "report.html", folder)


def test_the_arms_table_names_each_arm(page: Page) -> None:
    table = page.dom[page.dom.index("<h2>Arms</h2>") :].partition("</table>")[0]
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == list(ARMS)
    assert table.count('scope="col"') == 9


def test_the_plots_are_drawn_and_told_in_words(page: Page) -> None:
    assert len(re.findall(r"<svg\b", page.dom)) == 8
    told = re.findall(r'<figure role="img" aria-label="(.*?)"', page.dom)
    assert [words.split(":")[0].split(",")[0] for words in told] == [
        "Training loss by step",
        "Held-out bits per byte while training",
        "Gradient norm by step",
        "Training speed by step",
        "Memory by step",
        "Held-out bits per byte",
        "Accuracy by arm",
        "Length of the thoughts that were kept",
    ]


def test_no_id_stands_twice(page: Page) -> None:
    ids = re.findall(r'\sid="(.*?)"', page.dom)
    assert ids and len(ids) == len(set(ids))


def test_the_console_is_silent(page: Page) -> None:
    assert page.console == []


def test_the_console_would_be_heard(tmp_path: Path) -> None:
    """The silence above means something: a page with a fault is heard."""
    loud = tmp_path / "loud.html"
    loud.write_text("<script>throw new Error('planted fault')</script>")
    assert any("planted fault" in line for line in open_page(loud, tmp_path).console)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    targets = re.findall(r'(?:src|href)\s*=\s*"(.*?)"', page.dom) + re.findall(r"url\((.*?)\)", page.dom)
    assert targets and all(target.strip("\"'").startswith(("#", "data:,", "&quot;#")) for target in targets)
    assert "@import" not in page.dom


def test_hostile_thoughts_show_as_text(page: Page) -> None:
    assert html.escape(HOSTILE, quote=False) in page.dom
    assert "<script" not in page.dom and "<img" not in page.dom


def test_the_picture_is_not_blank(page: Page) -> None:
    assert page.screenshot.read_bytes().startswith(b"\x89PNG") and page.screenshot.stat().st_size > 50_000


def test_a_phone_gets_no_page_that_is_wider_than_it(tmp_path: Path) -> None:
    """The report in a frame of 390 pixels, as a window cannot be that narrow; the page around it reads its width."""
    write_report(make_inputs(), tmp_path)
    report = html.escape((tmp_path / "report.html").read_text())
    measure = "document.title = frame.contentWindow.innerWidth + ' ' + frame.contentDocument.body.scrollWidth"
    (tmp_path / "phone.html").write_text(
        f"""<title></title><script>const measure = frame => {{ {measure} }}</script>
        <iframe width="390" height="800" style="border: 0" onload="measure(this)" srcdoc="{report}"></iframe>"""
    )
    assert "<title>390 390</title>" in open_page(tmp_path / "phone.html", tmp_path).dom
