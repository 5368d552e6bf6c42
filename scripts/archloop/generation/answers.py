"""What an answer of the language model holds: its fenced blocks, and its program among them.

The program is the block that defines the class Net, whatever comes before it: thinking, a line for
the shell, a snippet, prose. Nothing heavy is imported.
"""

import codeop
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from archloop.texts import check_names, line_feeds, one_layout

# A fence that opens, whatever stands before it on its line; not a pair of them within a line.
OPENS = re.compile(r"^([^\n`]*)(`{3,})([^\n`]*)\n", re.MULTILINE)
NET = re.compile(r"^[ \t]*(class\s+Net\b|Net\s*=)", re.MULTILINE)
CLASS = re.compile(r"^[ \t]*class\s+\w+\s*[(:]", re.MULTILINE)
# Where a program without a fence begins.
CODE = re.compile(r"^(import|from|class|def|@)\b", re.MULTILINE)
# What a model thinks before it answers, with a draft in it perhaps.
THINKING, THOUGHT = "<think>", "</think>"
PYTHON = ("", "python", "py", "python3")
# What an answer may be made to begin with. No newline at the end: it often is one token with what
# follows.
RESPONSE_PREFIXES = {
    "none": "",
    "fence": "```python",
    "imports": "```python\nimport torch\nimport torch.nn as nn",
    "class": """```python
import torch
import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()""",
}


@dataclass(frozen=True)
class FencedBlock:
    """A fenced block: its text without the fence's indent, what its fence says, whether a fence
    closes it."""

    text: str
    label: str
    closed: bool


def fenced_blocks(answer: str) -> list[FencedBlock]:
    """Return the fenced blocks of an answer, in their order; the last one may be open."""
    fenced = []
    position = 0
    while opening := OPENS.search(answer, position):
        before, fence, label = opening.groups()
        closing = _closing_fence(len(fence)).search(answer, opening.end())
        end = closing.start() if closing else len(answer)
        text = _without_indent(answer[opening.end() : end], before)
        language = label.strip().lower()
        fenced.append(FencedBlock(text, language, closing is not None))
        if not closing:
            break

        # The rest of the closing fence's line opens nothing.
        end_of_line = answer.find("\n", closing.end())
        if end_of_line < 0:
            break
        position = end_of_line + 1
    return fenced


def _closing_fence(length: int) -> re.Pattern[str]:
    """Return the pattern of a fence that closes one of so many marks: as many, or more."""
    return re.compile(rf"^[ \t]*`{{{length},}}", re.MULTILINE)


def _without_indent(text: str, before: str) -> str:
    """Return a block's text without the indent of its fence; before: what stands before that."""
    if not before or before.strip():
        return text
    # A line that is indented less keeps nothing of its indent, as in CommonMark.
    indent = rf"^[ \t]{{1,{len(before)}}}"
    return re.sub(indent, "", text, flags=re.MULTILINE)


def after_thinking(answer: str) -> str | None:
    """Return what a model answers after its thinking, all where it does not think.

    None while it thinks.
    """
    _, thought, rest = answer.rpartition(THOUGHT)
    if not thought and THINKING in answer:
        return None
    return rest


def extract_program(answer: str) -> str | None:
    """Return the program of an answer; None where there is none.

    It is the first block that defines Net; else the first one with a class, or what looks like code
    without a fence and has a class, or the first block that Python's fence or none opens, or the
    first block.

    >>> extract_program("First:\\n```bash\\nls\\n```\\nThen:\\n```python\\nclass Net: pass\\n```")
    'class Net: pass\\n'
    """
    program = _program_in(line_feeds(answer))
    return None if program is None else one_layout(program)


def _program_in(answer: str) -> str | None:
    rest = after_thinking(answer)
    if rest is None:
        rest = answer
    fenced = fenced_blocks(rest)

    for wanted in (NET, CLASS):
        for block in fenced:
            if wanted.search(block.text):
                return block.text.rstrip() + "\n"

    begins = CODE.search(rest)
    if begins and CLASS.search(rest, begins.start()):
        if _parses(rest):
            return rest.strip() + "\n"
        code = rest[begins.start() :]
        code, _, _ = code.partition("\n```")
        return code.strip() + "\n"

    for block in fenced:
        if block.label in PYTHON:
            return block.text.rstrip() + "\n"
    return fenced[0].text.rstrip() + "\n" if fenced else None


def is_finished(answer: str) -> bool:
    """Tell whether the fence that closes the program has come."""
    rest = after_thinking(answer)
    if rest is None:
        return False
    return any(block.closed and NET.search(block.text) for block in fenced_blocks(rest))


def wrong_line(answer: str) -> bool:
    """Tell whether no way to go on makes the answer's last block parse, its last unfinished line
    aside.

    A block in another language than Python, and one that a model thinks of, is none to ask this of.

    >>> wrong_line("```python\\nx = (1,\\n"), wrong_line("```python\\nx = 1)\\n")
    (False, True)
    """
    fenced = fenced_blocks(after_thinking(answer) or "")
    if not fenced or fenced[-1].label not in PYTHON:
        return False

    last = fenced[-1]
    code = last.text
    if last.closed:
        return not _parses(code + "\n")
    if code.endswith("\\\n"):  # a line that goes on, which codeop calls an error
        return False

    # compile_command takes what more lines could complete, which compile refuses.
    end_of_last_line = code.rfind("\n") + 1
    whole_lines = code[:end_of_last_line]
    return not _parses(whole_lines, codeop.compile_command)


def _parses(code: str, compile_code: Callable[..., object] = compile) -> bool:
    # An answer may hold an invalid escape, of which Python would warn in the log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_names(code)
            compile_code(code, "<program>", "exec")
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            return False
    return True
