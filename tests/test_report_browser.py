"""The report in a real browser: three widths, light and dark, no errors, search, sort, hostile names, 5,000 designs."""

import json
import time

import polars as pl
import pytest
from browser import browser, needs_chromium
from synthetic_results import settings, write_results

from archloop.report import write_report
from archloop.report_input import read_all
from archloop.report_parts import FIGURES

pytestmark = needs_chromium()

LOOK = {"title": "The report", "resamples": 200, "gallery_rows": 40}
READY = "document.getElementById('list')?.dataset.ready"
# Each would run as code if it reached the page as anything but text.
HOSTILE = "<script>window.hacked = 1</script>"
IMAGE = "\"'><img src=x onerror=window.hacked=2>"
BREAKOUT = "</script><script>window.hacked = 3</script><!--"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """22 cycles of three chains with about 5,000 admitted designs."""
    folder = tmp_path_factory.mktemp("large")
    chains = {"main": {"dataset": "cifar10", "cycles": 22}}
    chains |= {name: {"dataset": name, "start": "main", "cycles": 22} for name in ("cifar100", "svhn")}
    write_results(folder, settings(chains), 210)
    write_report(read_all(folder), LOOK, folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Two cycles in which every text of a candidate is an attack, and the id of every fifth."""
    folder = tmp_path_factory.mktemp("hostile")

    def taint(row):
        texts = {"program": f"# {BREAKOUT}\nx = '{IMAGE}'\n{HOSTILE}\n", "prompt": BREAKOUT, "hint": IMAGE}
        texts |= {"prompt_id": HOSTILE, "detail": f"TypeError: {HOSTILE} {BREAKOUT}", "evaluation": IMAGE}
        return row | texts | ({"id": f"{HOSTILE}{IMAGE}{row['id']}"} if row["index"] % 5 == 0 else {})

    write_results(folder, settings({"main": {"dataset": "cifar10", "cycles": 2}}), 60, taint=taint)
    look = LOOK | {"title": f"{BREAKOUT}{IMAGE}"}
    write_report(read_all(folder), look, folder / "report")
    return folder


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (820, True), (1280, False), (1280, True)])
def test_it_renders_without_errors_and_nothing_sticks_out(window, large, width, dark):
    window.open(large / "index.html", width, dark=dark)
    window.wait(READY)
    assert window.errors() == []
    assert window.run("return document.documentElement.scrollWidth") <= width
    pictures = window.run(
        "return [...document.querySelectorAll('figure')].map((figure) => [figure.id,"
        " ...[...figure.querySelectorAll('.plot svg')].map((svg) => svg.getBoundingClientRect().height)])"
    )
    assert {name.removeprefix("figure-") for name, *_ in pictures} == set(FIGURES)
    assert all(len(heights) >= 3 and min(heights) > 40 for _, *heights in pictures)
    loaded = "performance.getEntriesByType('resource').filter((one) => !one.name.startsWith('data:'))"
    assert window.run(f"return {loaded}.length") == 0


def test_the_themes_differ_and_text_stands_out_in_both(window, large):
    for dark in (False, True):
        window.open(large / "index.html", 1280, dark=dark)
        # Contrast as in WCAG 2, of text and of the axes' labels against what they stand on; 4.5 is asked for.
        ratios = window.run(
            """
            const light = (color) => {
              const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
              const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
              return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = light(getComputedStyle(document.querySelector("figure")).backgroundColor);
            const colors = ["figcaption", "figure h3"].map((at) => getComputedStyle(document.querySelector(at)).color);
            colors.push(getComputedStyle(document.querySelector(".plot text")).fill);
            return colors.map(light).map((one) => (Math.max(one, ground) + 0.05) / (Math.min(one, ground) + 0.05));
            """
        )
        assert min(ratios) >= 4.5


def test_with_5000_designs_the_gallery_is_there_in_under_3_seconds(window, large):
    count = pl.read_parquet(large / "tables" / "architectures.parquet").height
    assert count >= 4_800
    started = time.monotonic()
    window.open(large / "index.html", 1280)
    window.wait(READY)
    assert time.monotonic() - started < 3
    assert window.run("return document.getElementById('count').textContent").endswith(f" of {count:,} designs")


def test_the_keyboard_reaches_the_marks_and_closes_what_it_opened(window, large):
    window.open(large / "index.html", 1280)
    window.wait(READY)
    window.run("document.querySelector('#figure-funnel .plot').focus()")
    press(window, "ArrowRight")
    assert not window.run("return document.getElementById('tip').hidden")
    assert window.run("return document.getElementById('tip').textContent").startswith("cycle 1: ")
    window.run("document.querySelector('#list tbody a').focus()")
    press(window, "Enter")
    window.wait("document.getElementById('design').open")
    press(window, "Escape")
    window.wait("!document.getElementById('design').open")


def press(window, key: str) -> None:
    codes = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowRight": (39, "")}
    number, text = codes[key]
    facts = {"key": key, "code": key, "windowsVirtualKeyCode": number} | ({"text": text} if text else {})
    window.devtools("Input.dispatchKeyEvent", {"type": "keyDown", **facts})
    window.devtools("Input.dispatchKeyEvent", {"type": "keyUp", **facts})


def test_hostile_names_programs_and_details_stay_text(window, hostile):
    rows = pl.read_parquet(hostile / "report" / "tables" / "architectures.parquet")
    window.open(hostile / "report" / "index.html", 1280)
    window.wait(READY)
    assert window.run("return document.title") == f"{BREAKOUT}{IMAGE}"
    assert any(name.startswith("<") for name in rows["id"])
    for name in rows["id"]:
        window.run("location.hash = '#design=' + encodeURIComponent(arguments[0])", name)
        window.wait(f"document.getElementById('name').textContent === {json.dumps(name)}")
        assert BREAKOUT in window.run("return document.getElementById('opened').textContent")
        window.run("document.getElementById('close').click()")
    for detail in window.run("return [...document.querySelectorAll('#failures pre')].map((one) => one.textContent)"):
        assert HOSTILE in detail
    assert HOSTILE in window.run("return document.getElementById('failures').textContent")
    window.run(
        "for (const mark of document.querySelectorAll('.plot path[aria-label]'))"
        " mark.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))"
    )
    assert window.run("return window.hacked ?? null") is None
    assert window.run("return document.querySelectorAll('main img, main script').length") == 0
    assert window.errors() == []


def test_the_figures_hold_hostile_names_as_text(window, hostile):
    window.open(hostile / "report" / "figures" / "pareto.svg", 1280)
    assert window.run("return document.querySelectorAll('script, img').length") == 0
    assert window.errors() == []


def test_it_prints_and_no_table_is_cut(window, large, tmp_path):
    window.open(large / "index.html", 1280)
    window.wait(READY)
    assert window.print(tmp_path / "report.pdf").stat().st_size > 50_000
    # An A4 sheet in landscape without its margins, at 96 pixels an inch.
    window.devtools("Emulation.setEmulatedMedia", {"media": "print"})
    sheet = {"width": 1039, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    window.devtools("Emulation.setDeviceMetricsOverride", sheet)
    window.run("dispatchEvent(new Event('beforeprint'))")
    tables = "[...document.querySelectorAll('main section > details > .scroll, main section > .scroll')]"
    cut = window.run(
        f"return {tables}.filter((box) => box.scrollWidth > box.clientWidth + 2).map((box) => box.innerText)"
    )
    assert cut == []
    window.devtools("Emulation.setEmulatedMedia", {"media": ""})
