"""Shingles, signatures and near-copies: against datasketch, against sets of tuples, at the threshold."""

import io
import re
import subprocess
import sys
import tokenize
from dataclasses import replace
from hashlib import blake2b, sha256

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash
from edit_pairs import PAIRS, PLAIN
from scipy.stats import binom
from workflow import ROOT

from archloop.families.programs import seed_programs
from archloop.novelty import minhash, tokens
from archloop.novelty import neighbours as novelty
from archloop.novelty.gate import (
    AMONG_SEEDS,
    Match,
    Nearest,
    first_ids,
    known_corpus,
    most_similar,
    near_copies,
    nearest,
)
from archloop.novelty.minhash import jaccard, shingle_sets, signatures
from archloop.novelty.neighbours import (
    Programs,
    known_programs,
    least_matches,
    miss_rate,
    neighbours,
    with_signatures,
)
from archloop.novelty.signature_scheme import SCHEME
from archloop.novelty.tokens import normalised_tokens, text_digest
from archloop.novelty.vocabulary import TOKEN
from archloop.settings.sections import Novelty

sys.path.insert(0, str(ROOT / "benchmarks"))
from synthetic import documents, near_copy

PROGRAMS = [each.program for each in seed_programs(4)] + list(documents(40, seed=1))


def tuples(program: str, size: int = 10) -> set[tuple[str, ...]]:
    """The shingles of a program, as the definition has them."""
    tokens = normalised_tokens(program)
    return {tuple(tokens[at : at + size]) for at in range(max(1, len(tokens) - size + 1))}


def hash_shingle(shingle: tuple[str, ...]) -> int:
    """The pinned hash of a shingle, number by number."""
    value = 0
    for token in shingle:
        digest = blake2b(token.encode(), digest_size=8).digest()
        value = (value * 0x9E3779B97F4A7C15 + int.from_bytes(digest, "little")) % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor % 2**64
    return (value ^ value >> 33) >> 32


def by_datasketch(program: str, size: int = 10) -> list[int]:
    minhash = MinHash(SCHEME["permutations"], seed=SCHEME["seed"], scheme=SCHEME["scheme"], hashfunc=hash_shingle)
    for shingle in tuples(program, size):
        minhash.update(shingle)
    return minhash.hashvalues.tolist()


def test_signatures_are_those_of_datasketch_bit_for_bit():
    signed = signatures(PROGRAMS, 10).tolist()
    assert signed == [by_datasketch(program) for program in PROGRAMS]


SMALL = "import torch.nn as nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return x * 2j\n"


def test_a_signature_and_a_digest_are_those_that_corpora_hold():
    signed = signatures([SMALL], 3)
    assert signed[0, :4].tolist() == [227431609, 9257298, 569800791, 55453193]
    whole = "40df5fe44d0393aaefd64ea05c4f452f3406a1a22cd3c741b16774e2e1440548"
    assert sha256(signed.astype("<u4").tobytes()).hexdigest() == whole
    assert text_digest(SMALL) == "31ad9b9cc80f29b6f61e30611be2e632f213cabe3179b49762b35f3abdcd046a"


def test_numbers_are_brought_into_one_form_and_what_is_no_plain_number_stays():
    assert normalised_tokens("x = 0x10 + 1_0. + .5e1 + 2j * y") == (
        ["_", "=", "16", "+", "10.0", "+", "5.0", "+", "2j", "*", "_"]
    )


@pytest.mark.parametrize(("characters", "vocabulary"), [(1, 500_000), (900, 0), (10**9, 0)])
def test_programs_are_the_same_however_many_are_read_at_once(monkeypatch, characters, vocabulary):
    whole = signatures(PROGRAMS[:12], 10)
    monkeypatch.setattr(tokens, "BATCH_CHARACTERS", characters)
    monkeypatch.setattr(tokens, "MAXIMUM_VOCABULARY", vocabulary)
    monkeypatch.setattr(minhash, "SIGNED_AT_ONCE", 7)
    assert (signatures(PROGRAMS[:12], 10) == whole).all()


def test_a_program_shorter_than_a_shingle_is_one_shingle():
    one, two = shingle_sets(["x = 1", "y = 2"], 50)
    assert len(one) == len(two) == 1 and one[0] != two[0]


def test_a_program_is_the_same_alone_and_among_others():
    together = signatures(PROGRAMS + ["y = 1", "x = ("] + PROGRAMS, 10)
    alone = [signatures([program], 10)[0].tolist() for program in PROGRAMS]
    assert together[: len(PROGRAMS)].tolist() == together[-len(PROGRAMS) :].tolist() == alone


def test_exact_similarity_is_that_of_the_sets_of_shingles():
    for pair in PAIRS:
        one, two = tuples(pair.base), tuples(pair.edited)
        assert jaccard(*shingle_sets([pair.base, pair.edited], 10)) == len(one & two) / len(one | two)


def test_names_of_libraries_stay_and_own_names_go():
    program = (
        "from torch import nn\nimport torch.nn.functional as F\n"
        "class Block(nn.Module):\n    def __init__(self, padding):\n"
        "        self.relu = nn.Conv2d(1, 2, padding=padding)  # one\n"
        "    def forward(self, x):\n        'Text.'\n        return F.relu(self.relu(x)).view(1_0, -1,)\n"
    )
    assert " ".join(normalised_tokens(program)) == (
        "class _ ( torch.nn . Module ) : def __init__ ( self , _ ) : "
        "self . _ = torch.nn . Conv2d ( 1 , 2 , padding = _ ) "
        "def forward ( self , _ ) : return torch.nn.functional . relu ( self . _ ( _ ) ) . view ( 10 , - 1 )"
    )


@pytest.mark.parametrize(
    ("program", "tokens"),
    [
        ("import torch\ntorch.nn.Conv2d(1)", "torch.nn . Conv2d ( 1 )"),
        ("import torch as t\nt.nn.Conv2d(1)", "torch.nn . Conv2d ( 1 )"),
        ("import torch.nn\ntorch.nn.Conv2d(1)", "torch.nn . Conv2d ( 1 )"),
        ("from torch.nn import Conv2d as C\nC(1)", "torch.nn . Conv2d ( 1 )"),
        ("import torch\ntorch.nn.utils.parametrizations.weight_norm", "torch.nn.utils.parametrizations . weight_norm"),
        ("import torch\nx.torch.nn", "_ . torch . nn"),
    ],
)
def test_a_module_is_one_token_however_it_is_reached(program, tokens):
    assert " ".join(normalised_tokens(program)) == tokens


def test_what_a_program_defines_is_its_own_name_whoever_it_is_reached_through():
    program = "class A:\n    def block(self):\n        return other.block().relu(other.width)\n"
    assert " ".join(normalised_tokens(program)) == "class _ : def _ ( self ) : return _ . _ ( ) . relu ( _ . width )"


def test_keywords_of_own_calls_are_own_names():
    program = "class Net:\n    pass\ndef block(width=3):\n    return width\nblock(width=4)\nprint(sep=5)\n"
    assert " ".join(normalised_tokens(program)).endswith("def _ ( _ = 3 ) : return _ _ ( _ = 4 ) print ( sep = 5 )")


def test_layout_quotes_and_comments_leave_the_text_digest_alone():
    other = PLAIN.replace('"', "'").replace("(16, 32,", "(\n\n      16,\n 32, # wide\n").replace("    ", "\t")
    assert text_digest(other) == text_digest(PLAIN)
    assert text_digest(PLAIN.replace("16", "17")) != text_digest(PLAIN)


def test_programs_of_carriage_returns_alone_are_not_all_alike():
    one, two = (program.replace("\n", "\r") for program in PROGRAMS[:2])
    assert text_digest(one) == text_digest(PROGRAMS[0]) != text_digest(two)


FRAGMENTS = ["import .", "import . as x", "from . import", "import", "from", "import (", "''", "\\", '"', "'''"]


@pytest.mark.parametrize("text", FRAGMENTS)
def test_a_fragment_of_an_import_breaks_nothing_and_spoils_no_program_after_it(text):
    before = text_digest(PLAIN)
    for program in (text, f'"""A\n{text}\n"""\n', f"x = 1\n{text}\ny = 2\n"):
        assert len(normalised_tokens(program)) < 20
    assert text_digest(PLAIN) == before


@pytest.mark.parametrize(
    "text",
    [
        '\\"""' * 50_000,
        "'" + "\\'" * 90_000,
        "a" * 190_000 + '"',
        "import (\n" * 20_000,
        "import a, b; " * 15_000,
        "x('''" * 40_000,
        " " * 100_000 + "\xa0" + " " * 90_000,
        "x=f(" * 45_000,
        ")" * 90_000 + "(" * 90_000 + "x=1",
        "1_" * 90_000 + "e",
        "\\\n" * 90_000,
        "class Net: pass\r" * 12_000,
        f"import {'a.' * 40_000}b as n\n" + "n\n" * 60_000,
    ],
    ids=range(13),
)
def test_the_lexer_takes_linear_time(text):
    """Seconds for 200,000 characters, where one that goes back or scans again takes hours."""
    signatures([text], 10)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.85, 0.9, 0.95])
def test_the_prefilter_asks_for_as_much_as_misses_one_pair_in_ten_thousand_at_the_threshold(threshold):
    least = least_matches(threshold)
    assert binom.cdf(least - 1, 256, threshold) <= 1e-4 < binom.cdf(least, 256, threshold)


def test_at_the_papers_threshold_211_of_256_have_to_agree_and_at_one_all():
    assert [least_matches(threshold) for threshold in (0.9, 1.0)] == [211, 256]


def test_at_a_threshold_near_nothing_no_agreement_is_asked_for():
    """Of pairs at 0.03 more than one in ten thousand agree nowhere: 0.97 ** 256."""
    assert [least_matches(threshold) for threshold in (0.0, 0.03, 0.04)] == [0, 0, 1]


def test_what_agrees_as_often_as_is_asked_for_passes_and_what_agrees_once_less_does_not():
    """Two programs of equal texts with signatures that agree in so many permutations, or in the lowest bytes alone."""
    signature = np.arange(256, dtype="<u4")
    hashes = np.tile(signature, (3, 1))
    hashes[0, 211:] += 1
    hashes[1, 210:] += 1
    hashes[2, 210:] += 1 << 8
    known = Programs(*map(pl.Series, (["a", "b", "c"], ["x = 1"] * 3, [row.tobytes() for row in hashes])))
    asked = Programs(*map(pl.Series, (["q"], ["x = 1"], [signature.tobytes()])))
    (closest,) = neighbours(asked, known, 0.9, 10)
    assert closest.exact == {0: 1.0}
    assert (closest.row, closest.estimate) == (0, 211 / 256)


@pytest.mark.parametrize(
    ("gate", "similarity", "exact", "same_graph", "copy"),
    [
        ("either", 0.9, True, None, True),
        ("either", 0.8999, True, None, False),
        ("either", 0.95, False, None, False),
        ("text", 0.9, True, None, True),
        ("text", 0.8, True, "b", False),
        ("graph", 0.95, True, None, False),
        ("graph", 0.1, False, "b", True),
        ("either", 0.1, False, "b", True),
        ("none", 1.0, True, "b", False),
    ],
)
def test_a_copy_is_what_reaches_the_threshold_in_what_the_gate_looks_at(gate, similarity, exact, same_graph, copy):
    novelty = Novelty(gate=gate, threshold=0.9, shingle_tokens=10)
    assert Match(Nearest("a", similarity, exact), same_graph).is_copy(novelty) is copy


def test_the_most_similar_is_an_exact_one_then_the_higher_then_the_smaller_id():
    options = [Nearest("d", 0.99, False), Nearest("c", 0.5, True), Nearest("b", 0.6, True), Nearest("a", 0.6, True)]
    assert [most_similar(options[:count]).id for count in range(1, 5)] == ["d", "c", "b", "a"]
    assert most_similar([]) is most_similar([None]) is None


def test_a_copy_among_the_seeds_is_what_it_was_when_models_were_taught_them():
    assert Novelty(gate="either", threshold=0.9, shingle_tokens=10) == AMONG_SEEDS


def test_of_rows_that_resemble_each_other_the_first_stays_and_the_reason_is_told():
    edited = PLAIN.replace("16", "17", 1)
    programs, graphs = [PLAIN, PLAIN, "x = 1", "y = 2 + 2", edited], ["1", "2", "1", None, "3"]
    why, signed = near_copies([*"abcde"], programs, graphs, replace(AMONG_SEEDS, threshold=0.85))
    one, two = tuples(PLAIN), tuples(edited)
    assert why == {"b": "near-copy of a (1.000)", "c": "computes the same graph as a"} | (
        {"e": f"near-copy of a ({len(one & two) / len(one | two):.3f})"}
    )
    assert signed.to_list() == [row.tobytes() for row in signatures(programs, 10)]


@pytest.fixture
def corpus() -> pl.DataFrame:
    """Four programs, whose signatures are those of no text."""
    columns = {"id": [*"dcba"], "chain": ["seed", "main", "other", "main"], "program": ["x = 1", "y = 2", "z", "w"]}
    columns |= {"signature": [b"D", b"C", b"B", b"A"], "shingle_tokens": [10, 10, 10, 10]}
    return pl.DataFrame(columns | {"graph_digest": ["g", "g", "h", "i"]})


def test_of_the_programs_of_a_graph_the_smallest_id_is_named(corpus):
    assert first_ids(corpus) == {"g": "c", "h": "b", "i": "a"}


def test_the_corpus_is_known_by_where_its_programs_come_from_and_by_the_graphs_that_are_asked_for(corpus):
    known = known_corpus(corpus, "main", ["g", "i", None, "k"], 10)
    assert known.sources.to_list() == ["seed", "earlier", "inherited", "earlier"]
    assert known.graphs == {"g": "c", "i": "a"} and known.programs.ids.to_list() == [*"dcba"]


@pytest.mark.parametrize("sizes", [[10, 10, 10, 3], [10, 10, 10, None]])
def test_signatures_of_the_asked_size_are_taken_as_they_are_stored_and_others_computed(corpus, sizes):
    texts = ["x = 1", "y = 2", "z", "w"]
    stored = known_programs(corpus, 10)
    assert stored.signatures.to_list() == [b"D", b"C", b"B", b"A"]
    computed = known_programs(corpus.with_columns(shingle_tokens=pl.Series(sizes)), 10)
    assert computed.signatures.to_list() == [row.tobytes() for row in signatures(texts, 10)]
    for known in (stored, computed):
        assert (known.ids.to_list(), known.texts.to_list()) == ([*"dcba"], texts)


def test_the_stated_miss_rate_is_the_one_that_is_counted():
    """Pairs at a similarity of 0.6 and a number of agreements that a tenth of them should miss."""
    least = max(count for count in range(257) if miss_rate(0.6, count) <= 0.1)
    missed = 0
    for start in range(1000):
        words = [repr(f"{start}.{i}") for i in range(800)]
        one, two = signatures([" ".join(words[:640]), " ".join(words[160:])], 1)  # 480 of 800 in common
        missed += int((one == two).sum()) < least
    assert 0.06 < missed / 1000 < 0.14


def planted(count: int) -> list[tuple[str, str, float]]:
    """Return (program, near-copy, similarity) with similarities from 0.85 to 0.95, counted by sets of tuples."""
    copies = []
    for seed, program in enumerate(documents(count, seed=7)):
        for edits in (1, 2):
            other = near_copy(program, edits, seed)
            one, two = tuples(program), tuples(other)
            similarity = len(one & two) / len(one | two)
            if 0.85 <= similarity <= 0.95:
                copies.append((program, other, similarity))
                break
    return copies


def test_planted_near_copies_are_found_exactly():
    pairs = planted(2000)
    known = with_signatures([f"p{i:05d}" for i in range(len(pairs))], [pair[0] for pair in pairs], 10)
    asked = with_signatures([f"q{i:05d}" for i in range(len(pairs))], [pair[1] for pair in pairs], 10)
    results = neighbours(asked, known, 0.9, 10)
    called = {at for at, closest in enumerate(results) if closest.exact.get(at, 0.0) >= 0.9}
    true = {at for at, pair in enumerate(pairs) if pair[2] >= 0.9}
    assert min(len(true), len(pairs) - len(true)) > 200
    assert called <= true, "a pair below the threshold was called a near-copy"
    assert len(called) >= 0.999 * len(true)
    assert all(closest.exact[at] == pairs[at][2] for at, closest in enumerate(results) if at in closest.exact)


def test_the_nearest_is_that_of_all_estimates_with_ties_to_the_smaller_id():
    programs = list(documents(300, seed=3))
    known = with_signatures([f"k{i:03d}" for i in range(299, -1, -1)], programs[:150] * 2, 10)
    asked = with_signatures([f"q{i}" for i in range(20)], programs[-20:], 10)
    hashes, asked_hashes = signatures(programs[:150] * 2, 10), signatures(programs[-20:], 10)
    for row, closest in enumerate(neighbours(asked, known, 0.9, 10)):
        matches = (hashes == asked_hashes[row]).sum(axis=1)
        best = min(known.ids[at] for at in (matches == matches.max()).nonzero()[0].tolist())
        answer = nearest(closest, known, "seed")
        assert (answer.id, answer.similarity, answer.exact) == (best, matches.max() / 256, False)


def test_what_is_found_does_not_depend_on_how_many_are_scanned_or_compared_at_once(monkeypatch):
    known = with_signatures([f"k{i}" for i in range(len(PROGRAMS))], PROGRAMS, 10)
    asked = with_signatures(["p", "q"], [PROGRAMS[-1], PROGRAMS[5] + "x = 1\n"], 10)
    whole = neighbours(asked, known, 0.8, 10)
    assert whole[0].exact == {len(PROGRAMS) - 1: 1.0} and 5 in whole[1].exact
    monkeypatch.setattr(novelty, "BLOCK", 7)
    monkeypatch.setattr(novelty, "SHINGLED_AT_ONCE", 1)
    assert neighbours(asked, known, 0.8, 10) == whole


def test_nothing_known_has_no_nearest():
    empty = with_signatures([], [], 10)
    (closest,) = neighbours(with_signatures(["a"], ["x = 1"], 10), empty, 0.9, 10)
    assert nearest(closest, empty, pl.Series([], dtype=pl.String)) is None


def test_signatures_depend_on_neither_hash_seed_nor_process():
    code = (
        "from archloop.novelty.minhash import signatures; from edit_pairs import PLAIN, RESIDUAL;"
        "print(signatures([PLAIN, RESIDUAL], 10).sum(axis=1, dtype='u8').tolist())"
    )
    answers = set()
    for seed in ("1", "2", "3"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        answers.add(done.stdout)
    assert len(answers) == 1


def test_the_lexer_finds_the_tokens_that_python_finds(root):
    """On this project's own modules and on programs, but for those whose f-strings newer versions take apart."""
    sources = [path.read_text() for path in sorted((root / "scripts" / "archloop").rglob("*.py"))]
    compared = 0
    for program in sources + PROGRAMS + [pair.edited for pair in PAIRS]:
        if re.search(r"\bf[\"']", program):
            continue
        lexed = [token for token in TOKEN.findall(program) if token != "\n"]
        wanted = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP)
        tokens = tokenize.generate_tokens(io.StringIO(program).readline)
        assert lexed == [token.string for token in tokens if token.type in wanted]
        compared += 1
    assert compared > 100
