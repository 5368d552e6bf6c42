"""The program of an answer: where it stands, when it is finished, and when a line of it is wrong."""

import pytest

from archloop.families.programs import family_programs
from archloop.generation.answers import RESPONSE_PREFIXES, extract_program, fenced_blocks, is_finished, wrong_line

NET = "import torch\n\n\nclass Net(nn.Module):\n    x = 1\n"
INDENTED = "".join(f"   {line}\n" if line else "\n" for line in NET.splitlines())


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("No program yet.\n", False),
        ("```python\nimport torch\n\nclass Net(nn.Module):\n", False),
        ("```python\nclass Net(nn.Module):\n    def f(self):\n        x = (1,\n", False),
        ("```python\ntry:\n    x = 1\n", False),
        ("```python\nx = 1 + \\\n", False),
        ('```python\n"""A text that\n', False),
        ("```python\ndef f():\n    return 1\n    x = ", False),
        ("```python\nx = 1\n```", False),
        ("```python\nx = (1,\n```", True),
        ("```python\ndef f():\n```", True),
        ("```python\nx = 1)\n", True),
        ("```python\ndef f():\nx = 1\n", True),
        ("```python\n    x = 1\n", True),
        ("```python\nx = 'abc\n", True),
        ("```python\nx = 1\n  y = 2\n", True),
        ("```python\nx == = 2\n", True),
    ],
)
def test_a_line_is_wrong_when_nothing_can_follow_that_makes_the_program_parse(text, wrong):
    assert wrong_line(text) is wrong


def test_no_line_of_a_program_that_parses_is_wrong():
    for program in family_programs("dense")[:3] + family_programs("shuffle")[:3]:
        text = f"```python\n{program.program.strip()}\n```"
        places = [place for place, letter in enumerate(text) if letter == "\n"]
        assert len(places) > 20
        assert not any(wrong_line(text[: place + 1]) for place in places)
        assert not wrong_line(text)


@pytest.mark.parametrize(
    "text",
    [
        "```bash\npip install torch )\n",
        "<think>\n```python\nx = )\n",
        "```python\nx = 1\n```\nIt is (a number\n",
        "1. Then:\n   ```python\n   x = 1\n   y = 2\n",
    ],
)
def test_what_is_no_program_has_no_wrong_line(text):
    assert not wrong_line(text)


@pytest.mark.parametrize(
    ("raw", "program"),
    [
        ("Sure:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\nx = 1\n\n```", "x = 1\n"),
        ("```python\nx = 1\ny =", "x = 1\ny =\n"),
        ("import torch\nclass Net:\n    pass", "import torch\nclass Net:\n    pass\n"),
        ("I cannot do that.", None),
        ("", None),
        ("```python\na\n```\n```python\nb\n```", "a\n"),
    ],
)
def test_without_a_net_the_program_is_the_first_block(raw, program):
    assert extract_program(raw) == program


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{NET}```",
        f"Install it:\n```bash\npip install torch\n```\nThen:\n```python\n{NET}```\nDone.",
        f"The key line is\n```python\nself.conv = nn.Conv2d(3, 8, 3)\n```\nand so\n```python\n{NET}```",
        f"<think>\nA draft:\n```python\nclass Net: pass\n```\n</think>\n\n```python\n{NET}```",
        f"A draft:\n```python\nclass Net: pass\n```\n</think>\n\n```python\n{NET}```",
        f"1. The net:\n\n   ```python\n{INDENTED}   ```\n2. Train it.",
        f"```\n{NET}```\nUse it:\n```python\nclass Trainer:\n    pass\n```",
        f"````python\n{NET}````",
        f"Here it is: ```python\n{NET}```",
        f"Use ```x``` and then\n```python\n{NET}```",
        f"```python\n{NET}",
        f"Here is the program.\n\n{NET}",
        f"{NET}```\nThat is all.",
        f"```python\nfrom torch import nn\n```\n```python\n{NET}```\n```python\nnet = Net()\n```",
    ],
)
def test_the_program_is_the_block_that_defines_net_whatever_comes_before(answer):
    assert extract_program(answer) == NET


@pytest.mark.parametrize("program", ["Net = Alias\n", "def f():\n    return 1\n\n\nNet = f()\n"])
def test_net_may_be_a_name_for_another_class(program):
    assert extract_program(f"```python\nx = 1\n```\n```python\n{program}```") == program


def test_code_without_a_fence_is_taken_whole_where_it_parses():
    assert extract_program(f"WIDTH = 8\n{NET}") == f"WIDTH = 8\n{NET}"


@pytest.mark.parametrize(
    ("answer", "finished"),
    [
        (f"```python\n{NET}```", True),
        (f"```python\n{NET}", False),
        ("```bash\npip install torch\n```", False),
        (f"<think>\n```python\n{NET}```", False),
        (f"<think>\n```python\n{NET}```\n</think>\n```python\n{NET}```", True),
    ],
)
def test_an_answer_is_finished_with_the_fence_that_closes_net(answer, finished):
    assert is_finished(answer) is finished


def test_a_block_knows_its_label_and_whether_it_is_closed():
    assert [(each.label, each.closed) for each in fenced_blocks("```Bash\nls\n```\n```\nx")] == [
        ("bash", True),
        ("", False),
    ]


def test_an_answer_may_begin_with_ever_more_of_its_program():
    begin = "```python\nimport torch\nimport torch.nn as nn"
    network = (
        "class Net(nn.Module):\n    def __init__(self, in_shape, out_shape, prm, device):\n        super().__init__()"
    )
    known = 'def supported_hyperparameters():\n    return {"lr", "momentum"}'
    whole = {
        "none": "",
        "fence": "```python",
        "imports": begin,
        "class": f"{begin}\n\n\n{known}\n\n\n{network}",
    }
    assert whole == RESPONSE_PREFIXES


def test_where_nothing_looks_like_a_program_the_first_block_is_taken_and_without_one_nothing():
    assert extract_program("First:\n```bash\nls\n```\nThen:\n```json\n{}\n```") == "ls\n"
    assert extract_program("There is nothing to say.") is None
