"""The report in a real browser: four widths, dark, paper, the Tab key, no script, hostile names, 29 chains."""

import json
import re
from dataclasses import replace

import polars as pl
import pytest
from browser import browser, needs_chromium
from small_run import shipped
from synthetic_results import LOOK, settings, write_results

from archloop.report.parts import FIGURES
from archloop.report.report import write_report
from archloop.report.results import read_results

pytestmark = needs_chromium()

GAINS = {"frozen": 0.25, "random": 0.6, "fixed": 0.6}
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
def large(root, tmp_path_factory):
    """The 29 chains of config.yaml and ablations.yaml, cut to a few cycles of eight: fewer numbers, as many rows."""
    folder = tmp_path_factory.mktemp("large")
    chains = shipped("config.yaml", "ablations.yaml")["chains"]
    for name, chain_settings in chains.items():
        chain_settings["cycles"] = 5 if name in ("main", *GAINS) else min(2, chain_settings.get("cycles", 1))
    del chains["seed"]
    write_results(folder, settings(chains), 8, gains=GAINS)
    write_report(read_results(folder), replace(LOOK, gallery_rows=40), folder / "report")
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
    look = replace(LOOK, title=f"{BREAKOUT}{IMAGE}")
    write_report(read_results(folder), look, folder / "report")
    return folder


@pytest.mark.parametrize(("width", "dark"), [(400, False), (400, True), (800, True), (1400, False), (2200, False)])
def test_it_renders_without_errors_and_nothing_sticks_out(window, large, width, dark):
    window.open(large / "index.html", width, dark=dark)
    window.wait(READY)
    assert window.errors() == []
    assert window.run("return document.documentElement.scrollWidth") <= width
    figures = window.run(
        "return [...document.querySelectorAll('.panel svg')].map((svg) => svg.getBoundingClientRect())"
        ".map((box) => [box.width, box.height, box.right])"
    )
    assert len(figures) >= len(FIGURES) + 4 and all(high > 40 and right <= width for _, high, right in figures)
    # Letters are no smaller than they were drawn.
    drawn = window.run("return [...document.querySelectorAll('.panel svg')].map((svg) => svg.width.baseVal.value)")
    assert all(wide >= own - 1 for (wide, *_), own in zip(figures, drawn))
    loaded = "performance.getEntriesByType('resource').filter((one) => !one.name.startsWith('data:'))"
    assert window.run(f"return {loaded}.length") == 0


def test_the_first_screen_holds_the_answer_and_all_that_backs_it(window, large):
    window.open(large / "index.html", 1400, 900)
    window.wait(READY)
    seen = window.run(
        "return Object.fromEntries([...document.querySelectorAll('h1, .sentence, .first .panel, .cards .card')]"
        ".map((one) => [one.innerText.split('\\n')[0], one.getBoundingClientRect().bottom]))"
    )
    names = " ".join(seen)
    for part in ("The loop minus its controls", "The loop: ", "frozen (does not learn): "):
        assert part in names
    for part in ("random (no language model): ", "The loop's best design", "What it cost", "Can it be trusted?"):
        assert part in names
    assert max(seen.values()) <= 900, seen
    assert window.run("return document.querySelectorAll('h1').length") == 1


def test_29_chains_take_no_more_than_twelve_screens_and_few_stops_of_the_tab_key(window, large):
    window.open(large / "index.html", 1400, 900)
    window.wait(READY)
    assert window.run("return document.documentElement.scrollHeight") <= 12 * 900
    stops = window.run(
        """
        const able = "a[href], button, input, select, summary, [tabindex]";
        const seen = [...document.querySelectorAll(able)].filter((one) => one.tabIndex >= 0 && one.checkVisibility());
        const gallery = document.getElementById("gallery");
        return seen.filter((one) => one.compareDocumentPosition(gallery) & Node.DOCUMENT_POSITION_FOLLOWING).length;
        """
    )
    assert 5 < stops < 40
    for section in ("answer", "designing", "sure", "found", "gallery", "failures", "cost", "appendix"):
        assert window.run(f"return document.getElementById('{section}').getBoundingClientRect().height") > 40
    opened = "[...document.querySelectorAll('#appendix details')].filter((one) => one.open).length"
    assert window.run(f"return {opened}") == 0


def test_the_tab_key_really_stops_so_often(window, large):
    window.open(large / "index.html", 1400, 900)
    window.wait(READY)
    stops = 0
    while stops < 60 and not window.run("return Boolean(document.activeElement.closest('#gallery'))"):
        press(window, "Tab")
        stops += 1
    assert 5 < stops <= 40
    window.open(large / "index.html", 1400, 900)
    press(window, "Tab")
    assert window.run("return document.activeElement.textContent") == "To the gallery"


def test_a_screen_reader_meets_figures_with_a_sentence_and_captions(window, large):
    window.open(large / "index.html", 1400)
    window.wait(READY)
    nodes = window.devtools("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node.get("ignored")]
    images = [node for node in nodes if node["role"]["value"] in ("image", "img") and not node.get("ignored")]
    assert not [role for role in roles if role.startswith("graphics")]
    assert images and all(len(image["name"]["value"]) > 20 for image in images)
    bare = "[...document.querySelectorAll('table')].filter((one) => !one.caption).length"
    assert window.run(f"return {bare}") == 0


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
            colors.push(getComputedStyle(document.querySelector(".panel svg text")).fill);
            return colors.map(light).map((one) => (Math.max(one, ground) + 0.05) / (Math.min(one, ground) + 0.05));
            """
        )
        assert min(ratios) >= 4.5


def test_without_a_script_the_answer_and_the_figures_are_there(window, large):
    window.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.open(large / "index.html", 1400)
        text = window.run("return document.querySelector('h1').innerText")
        assert len(text) > 10
        assert window.run("return document.querySelectorAll('.panel svg').length") >= len(FIGURES) + 4
    finally:
        window.devtools("Emulation.setScriptExecutionDisabled", {"value": False})


def press(window, key: str) -> None:
    codes = {"Tab": 9}
    event = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
    window.devtools("Input.dispatchKeyEvent", {"type": "keyDown", **event})
    window.devtools("Input.dispatchKeyEvent", {"type": "keyUp", **event})


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
    assert window.run("return window.hacked ?? null") is None
    assert window.run("return document.querySelectorAll('main img, main script').length") == 0
    assert window.errors() == []


def test_the_figures_hold_hostile_names_as_text(window, hostile):
    window.open(hostile / "report" / "figures" / "sizes.svg", 1280)
    assert window.run("return document.querySelectorAll('script, img').length") == 0
    assert window.errors() == []


def test_it_prints_on_six_pages_and_nothing_is_cut(window, large, tmp_path):
    window.open(large / "index.html", 1400)
    window.wait(READY)
    printed = window.print(tmp_path / "report.pdf").read_bytes()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 6
    # An A4 sheet in landscape without its margins, at 96 pixels an inch.
    window.devtools("Emulation.setEmulatedMedia", {"media": "print"})
    sheet = {"width": 1046, "height": 718, "deviceScaleFactor": 1, "mobile": False}
    window.devtools("Emulation.setDeviceMetricsOverride", sheet)
    cut = window.run(
        "return [...document.querySelectorAll('.scroll, .panel, figure')].filter((one) => one.checkVisibility()"
        " && one.scrollWidth > one.clientWidth + 2).map((one) => one.innerText)"
    )
    window.devtools("Emulation.setEmulatedMedia", {"media": ""})
    assert cut == []
