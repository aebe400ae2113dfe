"""The page in a real browser: complete, quiet, closed to the network, and deaf to markup in its data."""

import html
import re
from pathlib import Path

import pytest
from browser import Page, open_page
from report_fixtures import HOSTILE, make_comparison, make_inputs

from rcpt_ray.report.figures import measure_run
from rcpt_ray.report.page import gather
from rcpt_ray.report.plots.drawing import COLOURS, DARK_COLOURS
from rcpt_ray.report.write import write_report


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    write_report(make_inputs(), folder)
    return open_page(folder / "report.html", folder)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Five arms, two training domains, two seeds, one variant failed; in the dark, in a frame as wide as a phone."""
    folder = tmp_path_factory.mktemp("comparison")
    write_report(make_comparison(228, ("stem", "law"), (17, 18), 20, failed="reasoning.law.s18"), folder)
    report = html.escape((folder / "report.html").read_text())
    # A window cannot be that narrow; the page around the frame reads its width and what sticks out of it.
    measure = """
        const inside = frame.contentDocument, width = frame.contentWindow.innerWidth
        const wide = [...inside.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > width + 1
            && !one.closest('.scroll') && !one.closest('svg') && !one.closest('pre'))
        const drawings = inside.querySelectorAll('svg').length
        document.title = [width, inside.body.scrollWidth, wide.length, drawings].join(' ')"""
    (folder / "phone.html").write_text(
        f"""<title></title><script>const measure = frame => {{ {measure} }}</script>
        <iframe width="390" height="800" style="border: 0" onload="measure(this)" srcdoc="{report}"></iframe>"""
    )
    return open_page(folder / "phone.html", folder, dark=True, picture=False)


def test_every_table_has_a_caption_and_headers_with_scope(page: Page) -> None:
    tables = re.findall(r"<table>(.*?)</table>", page.dom, re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        assert table.count("<caption>") == 1
        headers = re.findall(r"<th\b[^>]*>", table)
        assert headers and all('scope="col"' in header or 'scope="row"' in header for header in headers)
        assert table.count("<tr>") - 1 == table.count('scope="row"')


def test_boxes_that_scroll_can_be_reached_by_the_keyboard(page: Page) -> None:
    boxes = re.findall(r'<(?:div class="scroll"|pre)[^>]*>', page.dom)
    assert len(boxes) > 10
    assert all('tabindex="0"' in box and 'role="region"' in box and "aria-label=" in box for box in boxes)


def test_landmarks_and_headings_lead_through_the_page(page: Page) -> None:
    assert page.dom.count("<main>") == page.dom.count("<h1>") == page.dom.count("<header>") == 1
    targets = set(re.findall(r'href="#([a-z-]+)"', page.dom.partition("<main>")[0]))
    assert targets and targets <= set(re.findall(r'<h2 id="(.*?)"', page.dom))
    assert set(re.findall(r'<section[^>]*aria-labelledby="(.*?)"', page.dom)) >= targets


def test_all_plots_are_drawn_and_told_in_words(page: Page) -> None:
    inputs = make_inputs()
    wanted = [plot for section in gather(inputs, measure_run(inputs)).sections for plot in section.plots]
    assert len(re.findall(r"<svg\b", page.dom)) == len(wanted) == 12
    told = re.findall(r'<div role="img" aria-label="(.*?)"', page.dom)
    assert sorted(map(html.unescape, told)) == sorted(plot.alt for plot in wanted)


def test_no_id_stands_twice(page: Page) -> None:
    ids = re.findall(r'\sid="(.*?)"', page.dom)
    assert ids and len(ids) == len(set(ids))


def test_the_console_is_silent(page: Page, comparison: Page) -> None:
    assert page.console == comparison.console == []


def test_the_console_would_be_heard(tmp_path: Path) -> None:
    """The silence above means something: a page with a fault is heard."""
    loud = tmp_path / "loud.html"
    loud.write_text("<script>throw new Error('planted fault')</script>")
    assert any("planted fault" in line for line in open_page(loud, tmp_path, picture=False).console)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    targets = re.findall(r'(?:src|href)\s*=\s*"(.*?)"', page.dom) + re.findall(r"url\((.*?)\)", page.dom)
    assert targets and all(target.strip("\"'").startswith(("#", "data:,", "&quot;#")) for target in targets)
    assert "@import" not in page.dom


def test_hostile_thoughts_show_as_text(page: Page) -> None:
    assert html.escape(HOSTILE, quote=False) in page.dom
    assert "<script" not in page.dom and "<img" not in page.dom


def test_the_picture_is_not_blank(page: Page) -> None:
    assert page.screenshot.read_bytes().startswith(b"\x89PNG") and page.screenshot.stat().st_size > 50_000


def test_a_phone_scrolls_tables_and_nothing_else_sideways(comparison: Page) -> None:
    """Width of the frame, of its body, elements that stick out, drawings."""
    (title,) = re.findall("<title>(.*?)</title>", comparison.dom)
    width, body, sticking_out, drawings = map(int, title.split())
    assert (width, body, sticking_out) == (390, 390, 0)
    assert drawings == 24


@pytest.mark.parametrize(
    ("ground", "series", "texts"),
    [
        ("#ffffff", COLOURS, ["#1b1f24", "#59636e"]),
        ("#12161b", DARK_COLOURS, ["#e6eaef", "#9aa5b1"]),
        ("#fff8e5", [], ["#1b1f24"]),
        ("#2a2413", [], ["#e6eaef"]),
        ("#f6f8fa", [], ["#1b1f24"]),
        ("#1a2027", [], ["#e6eaef"]),
    ],
)
def test_colours_stand_out(page: Page, ground: str, series: tuple[str, ...], texts: list[str]) -> None:
    """Text by 4.5 and lines by 3, as the Web Content Accessibility Guidelines ask."""
    assert all(colour in page.dom for colour in (ground, *series, *texts))
    assert all(contrast(colour, ground) >= 3 for colour in series)
    assert all(contrast(colour, ground) >= 4.5 for colour in texts)


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
