"""The gallery: its cards without a script, its list and a design in a real browser, data beside the page."""

import json
import re
from html import unescape

import polars as pl
import pytest
from browser import browser, needs_chromium
from synthetic_results import settings, write_results

from archloop import layout
from archloop.report.graph_drawing import GraphBlock
from archloop.report.page.ancestry import ends
from archloop.report.page.cards import Changes, changes, chosen, drawing
from archloop.report.page.designs import listed
from archloop.report.page.gallery import Gallery, apart, gallery, write_scripts
from archloop.report.report import templates
from archloop.report.results import read_results
from archloop.report.tables.per_candidate import architectures

READY = "document.getElementById('list')?.dataset.ready"
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><style>{{ style | safe }}</style>
{% include "gallery.html.j2" %}
{% for name, text in packed.items() %}<script type="text/plain" id="packed-{{ name }}">{{ text }}</script>{% endfor %}
<script>{{ script | safe }}</script>"""
HOSTILE = "</script><img src=x onerror=window.hacked=1>'\"&"


def write_page(shown: Gallery, count: int, folder) -> str:
    """Write a page of the gallery alone, from the report's own template, style and scripts; return it."""
    script = "".join((layout.PAGE / f"{name}.js").read_text() for name in ("design", "gallery"))
    values = {"rows": 20, "admitted": count, "gallery": shown, "packed": shown.packed, "script": script}
    values["style"] = (layout.PAGE / "gallery.css").read_text()
    page = templates().from_string(PAGE).render(values)
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text(page)
    return page


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    chains = {"main": {"dataset": "cifar10", "cycles": 4, "repeats": 2}, "svhn": {"dataset": "svhn", "cycles": 2}}

    def taint(row):
        row = row | ({"program": row["program"] + "# a WordOfIts0wn\n"} if row["index"] % 9 == 0 else {})
        # The first of a cycle is a duplicate: all of them compute one graph.
        row |= {"graph_digest": "f" * 64} if row["index"] == 0 and row["graph_digest"] else {}
        return row | ({"id": f"{HOSTILE}{row['id']}", "hint": HOSTILE} if row["index"] % 7 == 0 else {})

    return read_results(write_results(folder, settings(chains), 60, taint=taint))


@pytest.fixture(scope="module")
def table(results):
    return architectures(results)


@pytest.fixture(scope="module")
def rows(results, table):
    return listed(results, table)


@pytest.fixture(scope="module")
def shown(results, table):
    return gallery(results, table)


@pytest.fixture(scope="module")
def page(shown, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_page(shown, rows.height, folder)
    return folder / "index.html"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("nearest", "found"),
    [
        ({"a": "b", "b": "seed"}, {"a": ("seed", 2), "b": ("seed", 1)}),
        ({"a": "b", "b": "c", "c": "b"}, {"a": None, "b": None, "c": None}),
        ({"a": None, "b": "elsewhere"}, {"a": None, "b": None}),
    ],
)
def test_a_line_of_nearest_ends_at_a_seed_program_or_nowhere(nearest, found):
    assert ends(nearest, {"seed"}) == found


def test_rank_and_front_are_within_a_data_set(rows):
    for (dataset,), own in rows.group_by("dataset"):
        assert own["rank"].to_list() == list(range(1, own.height + 1)), dataset
        assert own["accuracy"].is_sorted(descending=True)
        for one in own.filter("front").iter_rows(named=True):
            as_good = own.filter(pl.col("accuracy") >= one["accuracy"], pl.col("id") != one["id"])
            assert as_good.filter(pl.col("parameters") <= one["parameters"]).is_empty()
    assert rows["dataset"].unique(maintain_order=True).to_list() == ["cifar10", "svhn"]


def test_how_often_a_graph_was_found_is_counted_over_all_valid(results, rows):
    valid = results.candidates.filter(graph_digest="f" * 64).height
    assert valid > 2 and set(rows.filter(graph_digest="f" * 64)["found"]) <= {valid}


def test_cards_are_chosen_by_the_validation_split_alone(rows):
    own = rows.filter(dataset="cifar10")
    other = own.with_columns(test_accuracy=pl.col("test_accuracy").reverse())
    assert [design.id for design, _ in chosen(own)] == [design.id for design, _ in chosen(other)]
    best = own.filter(pl.col("parameters") < 30_000).row(0, named=True)["id"]
    assert (best, "best below 30,000 parameters") in [(design.id, why) for design, why in chosen(own)]
    graphs = [design.graph_digest for design, _ in chosen(own)]
    assert len(graphs) == len(set(graphs)) == 12


def test_the_cards_are_in_the_page_before_any_script(page, rows):
    text = page.read_text()
    cards = re.findall(r'<li class="card">.*?</li>', text, re.DOTALL)
    assert len(cards) == 12 and 'id="browse" hidden' in text
    for card in cards:
        name = unescape(re.search(r'class="name" href="[^"]*">([^<]*)<', card)[1])
        row = rows.row(by_predicate=pl.col("id") == name, named=True)
        assert f"<dd>{100 * row['test_accuracy']:.1f} %</dd>" in card
        assert "(SD of repeats)" in card and "<rect" in card and "median of all designs" in card


def test_blocks_that_a_neighbour_has_not_are_counted():
    old = [GraphBlock(label, "c", "8", []) for label in ("conv", "conv", "pool")]
    new = [GraphBlock(label, "c", "8", []) for label in ("conv", "shuffle", "shuffle")]
    assert changes(old, new) == Changes(more=["2 × shuffle"], less=["conv", "pool"])
    assert changes([], new) is None


def test_a_drawing_holds_no_text_of_a_graph():
    named, shaped = GraphBlock(HOSTILE, "c", "8×4×4", []), GraphBlock(HOSTILE, "+", HOSTILE, [0])
    blocks = [named, shaped, GraphBlock("x", "c", "8", [0])]
    assert HOSTILE not in drawing(blocks)


def test_data_beside_the_page_replaces_that_of_the_report_before(shown, tmp_path):
    inside, beside = apart(shown.packed, most=1000)
    assert set(inside) == {"index"}
    (tmp_path / "parts-77.js").write_text("old")
    assert [path.name for path in write_scripts(beside, tmp_path)] == [path.name for path in tmp_path.iterdir()]
    assert apart(shown.packed)[1] == {}


def set_filter(window, name: str, value: str) -> None:
    window.run(
        "const box = document.getElementById(arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('input', { bubbles: true }))",
        name,
        value,
    )


def count(window) -> int:
    return int(window.run("return document.getElementById('count').textContent").split(" of")[0].replace(",", ""))


def names(window) -> list[str]:
    return window.run("return [...document.querySelectorAll('#list tbody .name')].map((one) => one.textContent)")


def opened(window, name: str | None = None) -> None:
    window.wait("document.getElementById('design').open")
    if name is not None:
        window.wait(f"document.getElementById('name').textContent === {json.dumps(name)}")


def open_page(window, page, state: str = "") -> None:
    window.open(page, 1280)
    if state:
        window.call("POST", "/url", {"url": page.resolve().as_uri() + state})
    window.wait(READY)


@needs_chromium()
def test_filters_leave_what_they_say_and_stay_in_the_address(window, page, rows):
    open_page(window, page)
    own = rows.filter(dataset="cifar10")
    assert count(window) == own.height and names(window) == own["id"][:20].to_list()
    for name, value, kept in (
        ("parameters", "60000", pl.col("parameters") <= 60_000),
        ("similarity", "0.6", pl.col("nearest_similarity") <= 0.6),
        ("accuracy", "45", pl.col("test_accuracy") >= 0.45),
        ("from", "2", pl.col("cycle") >= 2),
        ("to", "3", pl.col("cycle") <= 3),
    ):
        own = own.filter(kept)
        set_filter(window, name, value)
        assert count(window) == own.height > 0, name
    window.run("document.querySelector('[data-field=parameters] button').click()")
    assert names(window) == own.sort("parameters", "id")["id"][:20].to_list()
    state = window.run("return location.hash")
    open_page(window, page, state)
    assert count(window) == own.height and names(window)[0] == own.sort("parameters", "id")["id"][0]
    open_page(window, page, "#dataset=svhn&front=yes")
    assert count(window) == rows.filter(pl.col("dataset") == "svhn", pl.col("front")).height
    assert window.errors() == []


@needs_chromium()
def test_search_finds_words_of_programs(window, page, results, rows):
    programs = results.corpus.filter(pl.col("program").str.contains("WordOfIts0wn"))["id"]
    wanted = rows.filter(pl.col("dataset") == "cifar10", pl.col("id").is_in(programs.to_list()))
    open_page(window, page)
    set_filter(window, "q", "wordofits0wn")
    window.wait(f"document.getElementById('count').textContent.startsWith('{wanted.height} of')")
    assert wanted.height > 3 and set(names(window)) <= set(wanted["id"])
    set_filter(window, "q", "conv nothing_is_called_that")
    assert count(window) == 0


@needs_chromium()
def test_drawings_of_cards_and_of_the_list_are_large_enough_to_read(window, page):
    open_page(window, page)
    height = "return document.querySelector('{}').getBoundingClientRect().height"
    assert window.run(height.format(".designs .net")) >= 75
    assert window.run(height.format("#list .net")) >= 36


@needs_chromium()
def test_back_closes_a_design_and_forward_opens_it_again(window, page, rows):
    first, second = rows["id"][:2]
    open_page(window, page, "#parameters=900000000")
    window.run("document.querySelector('#list .name').click()")
    opened(window, first)
    window.run("document.getElementById('following').click()")
    opened(window, second)
    window.run("history.back()")
    window.wait("!document.getElementById('design').open")
    assert window.run("return location.hash") == "#parameters=900000000"
    window.run("history.forward()")
    opened(window, second)
    window.run("document.getElementById('close').click()")
    window.wait("!location.hash.includes('design')")
    assert not window.run("return document.getElementById('design').open")


@needs_chromium()
def test_the_keyboard_opens_a_card_and_closes_it(window, page):
    open_page(window, page)
    name = window.run("const link = document.querySelector('.designs .name'); link.focus(); return link.textContent")
    for key, code, text in (("Enter", 13, "\r"), ("Escape", 27, "")):
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code} | ({"text": text} if text else {})
        window.devtools("Input.dispatchKeyEvent", {"type": "keyDown", **event})
        window.devtools("Input.dispatchKeyEvent", {"type": "keyUp", **event})
        opened(window, name) if key == "Enter" else window.wait("!document.getElementById('design').open")
    assert window.run("return document.activeElement.textContent") == name


@needs_chromium()
def test_a_design_shows_both_drawings_program_difference_and_the_line_to_a_seed(window, page, results, rows):
    row = rows.filter(pl.col("steps") >= 3, pl.col("nearest_source") == "earlier").row(0, named=True)
    nearest, line = dict(rows.select("id", "nearest_id").iter_rows()), [row["id"]]
    while line[-1] in nearest:
        line.append(nearest[line[-1]])
    program = results.corpus.row(by_predicate=pl.col("id") == row["id"], named=True)["program"]
    open_page(window, page)
    window.run("location.hash = '#design=' + encodeURIComponent(arguments[0])", row["id"])
    opened(window, row["id"])
    pres = window.run("return [...document.querySelectorAll('#opened pre')].map((one) => one.textContent)")
    assert program in pres
    assert window.run("return document.querySelectorAll('#opened .drawings .graphed').length") == 2
    added = window.run(
        "return [...document.querySelectorAll('#opened .diff .add')].map((one) => one.textContent.slice(2))"
    )
    assert added and set(added) <= set(program.split("\n"))
    steps = window.run("return [...document.querySelectorAll('#opened .line li')].map((one) => one.textContent)")
    assert len(steps) == row["steps"] + 1 and line[-1] in steps[0] and "this design" in steps[-1]
    text = window.run("return document.getElementById('opened').textContent")
    for part in (
        row["prompt_id"],
        row["adapter"],
        str(row["seed"]),
        "replay.py",
        "SD of the judge",
        "the middle of all",
    ):
        assert part in text, part
    window.run("document.querySelector('#opened p .name').click()")
    opened(window, row["nearest_id"])
    assert row["id"] in window.run("return document.getElementById('opened').textContent")  # a later one, near to it
    window.run("document.querySelector('#opened .line .name').click()")
    opened(window, line[-1])
    assert window.run("return window.hacked ?? null") is None and window.errors() == []


@needs_chromium()
def test_hostile_names_stay_text(window, page, rows):
    open_page(window, page)
    for name in rows.filter(pl.col("id").str.starts_with("<"))["id"][:3]:
        window.run("location.hash = '#design=' + encodeURIComponent(arguments[0])", name)
        opened(window, name)
    assert window.run("return [window.hacked ?? null, document.images.length]") == [None, 0]


@needs_chromium()
def test_data_beside_the_page_is_read_without_a_server(window, shown, rows, tmp_path):
    inside, beside = apart(shown.packed, most=1000)
    write_page(Gallery(shown.cards, inside, {}, shown.kinds, shown.choices), rows.height, tmp_path)
    files = write_scripts(beside, tmp_path / "data")
    open_page(window, tmp_path / "index.html")
    window.run("document.querySelector('.designs .name').click()")
    window.wait("document.querySelector('#opened pre')")
    assert window.errors() == []
    for path in files:
        path.unlink()
    open_page(window, tmp_path / "index.html")
    window.run("document.querySelector('.designs .name').click()")
    window.wait("document.getElementById('opened').textContent.includes('beside the whole report')")
    window.errors()


@needs_chromium()
def test_without_a_script_the_cards_are_there_and_the_list_is_not(window, page):
    window.devtools("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.open(page, 390)
        assert window.run("return document.querySelectorAll('.designs .card').length") == 12
        assert window.run("return document.getElementById('browse').getBoundingClientRect().height") == 0
        assert window.run("return document.documentElement.scrollWidth") == 390
    finally:
        window.devtools("Emulation.setScriptExecutionDisabled", {"value": False})
