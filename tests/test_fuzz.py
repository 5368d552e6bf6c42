"""No program ends a job: whatever a model writes, every reader of it returns, with an outcome or a note.

Programs are real ones cut, joined and stirred, Python's own grammar at random, and bytes. `pytest --examples 5000
tests/test_fuzz.py` looks for longer.
"""

import ast
import contextlib
import json
import random
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from edit_pairs import BRANCHES, EXCITATION, PLAIN, RESIDUAL, SEPARABLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from small_cycle import ADMISSION, DATASET, EMPTY, NOVELTY, cycle
from synthetic_results import LOOK, write_results
from synthetic_results import settings as settings_of

from archloop.corpus.admit import admit
from archloop.corpus.candidate_rows import join
from archloop.corpus.tables import read_candidates, write_candidates, write_corpus
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score import plain_line, read_result
from archloop.evaluation.score_store import ScoreStore
from archloop.evaluation.static_checks import check_program, without_unused
from archloop.families.programs import seed_programs
from archloop.files import write_json, write_jsonl
from archloop.generation.answers import extract_program
from archloop.lemur.contract import complete_program, modernise
from archloop.lemur.export import export
from archloop.lemur.hyperparameters import declared_names
from archloop.novelty.minhash import signatures
from archloop.novelty.tokens import normalised_tokens, text_digest
from archloop.outcomes import OUTCOMES
from archloop.report.graph_drawing import fold
from archloop.report.report import write_report
from archloop.report.results import read_results
from archloop.report.summarize import summarize
from archloop.sandbox.orders import SupervisorReport
from archloop.texts import one_layout, parsed
from archloop.tools.inspect_corpus import counts, difference, read_corpus_records
from archloop.tools.verify import verify
from archloop.workflow.provenance import KEYS, OBJECTS, provenance_path

REAL = [PLAIN, RESIDUAL, SEPARABLE, BRANCHES, EXCITATION, *(each.program for each in seed_programs(1))]
PIECES = [
    *("import .\n", "from . import *\n", "import torch as nn\n", "from __future__ import annotations\n", "import ("),
    *('"""', "'''", '"', "'", "\\", "\\\n", "\n", "\r", "\r\n", "\f", "\t", "    ", " ", "\0", "\x1b[2J", "\u202e"),
    *("class Net:", "class Net(nn.Module):", "Net = x", "def __init__(self, a, b, c, d): pass", "as", "é", "ﬁ"),
    *("def supported_hyperparameters():", "return", "lambda:", "if __name__ == '__main__':", "try:", "except: pass"),
    *("match x:", "case", "async", "await", "global Net", "nonlocal x", ":=", "...", "0x", "1e", "1_", "9" * 5000, ";"),
    *("(", ")", "[", "]", "{", "}", "f'{", "}'", "rb'", "#", "@", "->", "*", "**", "=", ",", ".", ":", "self."),
    *("getattr(", "torch.", "nn.", "F.", "__class__", "prm['lr']", "```python\n", "```\n", "x", "super().", "if x:"),
]
PLACES = some.integers(0, 4000)
CUT = some.builds(lambda text, at, to: text[min(at, to) : max(at, to)], some.sampled_from(REAL), PLACES, PLACES)
LEAVES = ["Net", "torch", "nn", "self", "x", "os", "eval", "super", "1", "1.5", "'a'", "None", "f'{x!r:>{x}}'", "..."]
# Python's grammar in small: {} is an expression.
FORMS = ["{}.{}", "{}({})", "[{}, {}]", "({} if {} else 1)", "lambda a: {} + {}", "{{{}: {}}}", "[a for a in {} if {}]"]
LINES = ["{} = {}", "import {}", "from {} import {}", "def {}(a={}): pass", "class {}({}): pass", "del {}", "{}"]
LINES += ["for {} in {}: pass", "with {} as {}: pass", "while {}: break", "assert {}", "@{}\nclass Net: pass"]
DEEP = ["", "x = " + "-" * 800 + "1\n", "x = " + "(" * 90 + ")" * 90 + "\n", "x = 1" + " + 1" * 900]


@some.composite
def stirred(draw) -> str:
    """A real program with a few pieces put in, taken out or changed."""
    program = draw(some.sampled_from(REAL))
    for _ in range(draw(some.integers(0, 6))):
        at, length = draw(some.integers(0, len(program))), draw(some.integers(0, 12))
        put = draw(some.sampled_from(PIECES) | CUT) * draw(some.sampled_from([1, 1, 1, 2, 300]))
        program = program[:at] + put + program[at + length :]
    return program


@some.composite
def grown(draw) -> str:
    """Statements of Python's grammar, deep ones among them."""
    leaves = some.sampled_from(LEAVES)
    expressions = some.recursive(
        leaves, lambda inner: some.builds(str.format, some.sampled_from(FORMS), inner, inner), max_leaves=20
    )
    statements = some.builds(str.format, some.sampled_from(LINES), expressions, expressions)
    return "\n".join(draw(some.lists(statements, max_size=8))) + "\n" + draw(some.sampled_from(DEEP))


TEXTS = stirred() | grown() | some.lists(some.sampled_from(PIECES), max_size=40).map("".join)
TEXTS |= some.binary(max_size=300).map(lambda data: data.decode("latin-1")) | some.text(max_size=200)
ATOMS = some.none() | some.booleans() | some.integers() | some.floats() | some.text()
JSON = some.recursive(
    ATOMS | some.sampled_from(["[[[[", "]]", 1e400]),
    lambda inner: some.lists(inner, max_size=5) | some.dictionaries(some.text(max_size=3), inner, max_size=4),
    max_leaves=30,
)


def tried(examples: int):
    """The settings of a fuzzer: so many examples, always the same, or with --examples that many new ones."""
    return settings(
        max_examples=pytest.examples or examples,
        derandomize=not pytest.examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@tried(150)
@given(program=TEXTS)
def test_every_reader_of_a_program_returns(program):
    refused = check_program(program)
    assert refused is None or refused[0] in ("unparseable", "unsafe", "contract")
    run = without_unused(program)
    if parsed(program) is not None:
        assert parsed(run) is not None, "what is run does not compile"
        assert ast.dump(parsed(one_layout(program))) == ast.dump(parsed(program)), "another program"
        assert parsed(complete_program(program, {})) is not None, "what is exported does not compile"
    assert text_digest(program) == text_digest(program + "\n# more\n") or parsed(program) is None
    assert signatures([program, PLAIN], 10)[1].tolist() == signatures([PLAIN], 10)[0].tolist()
    assert len(normalised_tokens(program)) <= 20 * len(program)
    declared_names(program)
    extract_program(program)
    try:
        modernise(program)
    except ValueError as error:
        assert str(error)


@tried(40)
@given(programs=some.lists(TEXTS, min_size=1, max_size=4), details=some.text(max_size=40))
def test_programs_and_their_details_go_through_admission_to_the_export(programs, details, tmp_path_factory):
    candidates, records = cycle(*((program, 0.5 + place / 10) for place, program in enumerate(programs)))
    for candidate, record in zip(candidates, records):
        candidate |= {"raw": details, "hint": details}
        record |= {"detail": details, "graph": {"digest": details, "method": "trace"}}
    candidates[-1]["program"], records[-1]["outcome"] = programs[-1], "crashed"
    whole, shard = admit(join(candidates, records), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert set(whole["outcome"]) <= set(OUTCOMES)
    place = tmp_path_factory.mktemp("fuzz") / "results" / "main" / "cycle-1"
    write_candidates(whole, place / "candidates.parquet")
    write_corpus(shard, place / "corpus.parquet")
    summarize(read_candidates([place / "candidates.parquet"]), None, 0.5, "main", 1, "digits")
    assert len(export(shard, place.parent / "architectures")) == shard.height
    records = read_corpus_records(place.parents[1])
    counts(records)
    for identity in whole.filter(pl.col("nearest_id").is_not_null())["id"]:
        difference(records, identity)


@tried(300)
@given(value=JSON, nodes=JSON, raw=some.binary(max_size=40))
def test_what_a_process_says_is_a_record_whatever_it_says(value, nodes, raw):
    nonce, report = b"n" * 16, SupervisorReport()
    said = {"outcome": "trained", "detail": value, "parameters": 9, "multiply_adds": None, "epochs": [], "losses": []}
    said |= {"seconds": {}, "graph": {"digest": "a" * 64, "method": "trace", "operations": 3, "nodes": nodes}}
    for header in (said, said | {"graph": value}, value, said | {"seconds": value, "epochs": nodes}):
        text = json.dumps(header).encode()
        for result in (nonce + len(text).to_bytes(4, "little") + text + raw, nonce + raw, raw):
            record, _ = read_result(report, result, nonce)
            json.dumps(record | {"predictions": ""}, allow_nan=False).encode()
            fold((record["graph"] or {}).get("nodes"))


class Tags(HTMLParser):
    """The kinds of elements of a page, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.kinds, self.text = set(), ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.kinds |= {tag, *(name for name, _ in attrs)}

    def handle_data(self, data):
        self.text += data


def test_a_report_is_made_of_any_programs_and_details(tmp_path):
    rng = random.Random(1)
    marks = ["<fuzz onfuzz=x>", "</script><fuzz>", "</style><fuzz>", "'\"><fuzz>", "<!--", "]]>", "{{ x }}", "{%"]
    pieces = [*PIECES, *marks * 8]

    def stirred(row: dict) -> dict:
        text = "".join(rng.choices(pieces, k=8))
        detail = plain_line(text)  # as every record has it
        return row | {"program": text, "prompt": text[:500], "hint": text[:20], "detail": detail, "raw": text}

    whole = settings_of({"main": {"dataset": "cifar10", "cycles": 2}})
    results = read_results(write_results(tmp_path, whole, 30, taint=stirred))
    write_report(results, LOOK, tmp_path / "report")
    assert pl.read_parquet(tmp_path / "report" / "tables" / "architectures.parquet").height > 5
    shown = Tags((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert "<fuzz" in shown.text, "none of it reached the page"
    assert not {kind for kind in shown.kinds if "fuzz" in kind} and not set("\x1b\u202e\0") & set(shown.text)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """The results of a cycle with the provenance of each file, as far as `verify` looks at it."""
    folder = write_results(
        tmp_path_factory.mktemp("verify") / "results", settings_of({"main": {"dataset": "cifar10", "cycles": 1}}), 4
    )
    place = folder / "main" / "cycle-1"
    rows = read_candidates([place / "candidates.parquet"]).to_dicts()
    record = dict.fromkeys(FIELDS) | {"outcome": "crashed", "protocol": {}, "seed": 1, "device": "cpu", "versions": {}}
    key = ScoreStore(folder / "evaluations").put("ab" * 32, record) and "ab" * 32
    write_jsonl(place / "prompts.jsonl", [{"id": row["id"], "index": 0, "seed": 1} for row in rows])
    write_jsonl(place / "generated" / "0.jsonl", [{"id": row["id"], "program": row["program"]} for row in rows])
    write_json(place / "evaluated" / "0.json", {"records": [record | {"id": row["id"], "key": key} for row in rows]})
    write_json(place / "evaluated" / "0.run.json", {"device": "cpu"})
    reads = {"results/main/cycle-1/generated/0.jsonl": "a", "resources/datasets/cifar10.safetensors": "b"}
    for path in [
        path for path in folder.rglob("*") if path.is_file() and path.name[0] != "." and "0.run" not in path.name
    ]:
        told = {key: {} if key in OBJECTS else [] for key in KEYS} | {"code": "c", "outputs": {path.name: "d"}}
        told |= {"script": "evaluate", "inputs": reads} if path.name == "0.json" else {"script": "admit"}
        told |= {"run_records": ["0.run.json"]} if path.name == "0.json" else {}
        write_json(provenance_path(path), told)
    return folder


def put_in(value: object, odd: object, rng: random.Random) -> object:
    """Return a value of JSON with something odd in one of its places."""
    if not value or not isinstance(value, (dict, list)) or rng.random() < 0.2:
        return odd
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place] = put_in(changed[place], odd, rng)
    return changed


@tried(30)
@given(odd=JSON, text=TEXTS, seed=some.integers(0, 10**6))
def test_verify_names_whatever_is_wrong_with_any_file(kept, odd, text, seed):
    """One file of a folder is changed: cut, stirred, another text, or one value of its JSON another."""
    rng = random.Random(seed)
    path = rng.choice(sorted(path for path in kept.rglob("*") if path.is_file()))
    whole = path.read_bytes()
    changed = [whole[: rng.randrange(len(whole) + 1)], text.encode("utf-8", "surrogatepass"), json.dumps(odd).encode()]
    with contextlib.suppress(ValueError):
        lines = [json.loads(line) for line in ([whole] if path.suffix != ".jsonl" else whole.splitlines())]
        changed += ["".join(json.dumps(put_in(each, odd, rng)) + "\n" for each in lines).encode()] * 5
    path.write_bytes(rng.choice(changed))
    try:
        findings, _ = verify(kept)
        assert findings and all(line.isprintable() for line in findings)
    finally:
        path.write_bytes(whole)


def traced(nodes: list) -> dict:
    """Return the record of a process that tells of this graph."""
    said = {"outcome": "trained", "detail": "", "parameters": 9, "multiply_adds": None, "epochs": [], "losses": []}
    said |= {"seconds": {}, "graph": {"digest": "a" * 64, "method": "trace", "operations": 1, "nodes": nodes}}
    header = json.dumps(said).encode()
    record, _ = read_result(SupervisorReport(), b"n" * 16 + len(header).to_bytes(4, "little") + header, b"n" * 16)
    return record


@pytest.mark.parametrize("text", ["[" * 5000, "]" * 5000, "[[]]" * 100])
def test_brackets_in_the_texts_of_a_graph_are_no_depth(text):
    nodes = [["=image", [], [], [2, 3]], ["einsum", [["equation", text]], [0], [2, 3]]]
    record = traced(nodes)
    assert record["outcome"] == "trained" and record["graph"]["nodes"][0] == nodes[0]


def test_what_cannot_be_seen_in_the_name_of_an_operation_reaches_no_page():
    nodes = [["=image", [], [], [2, 3]], ["\x1b[2J\u202econv", [], [0], [2, 3]]]
    (_, (label, *_)) = fold(traced(nodes)["graph"]["nodes"])
    assert label == "[2J conv"
    (_, (label, *_)) = fold(nodes)
    assert label == "\\x1b[2J\\u202econv"


DEEP_LISTS = json.loads("[" * 25 + "]" * 25)


MANY = [["]" * 99, [], [], []]] * 501


@pytest.mark.parametrize("nodes", [MANY, [["]" * 99, DEEP_LISTS, [], []]]], ids=["long", "deep"])
def test_a_graph_that_is_too_long_or_too_deep_is_no_graph(nodes):
    assert traced(nodes)["outcome"] == "crashed"
