"""The tokens of programs as numbers: the lexer, and of each token its kind, its text and its hash.

The lexer is our own, so nothing depends on the version of Python, and it takes linear time.
"""

import re
from array import array
from hashlib import blake2b

LINE_END = re.compile("\r\n?")
# No part of it looks at the same text from many starts: a string that does not end is one token
# all the same.
TOKEN = re.compile(
    r"""(?:[^\S\n]|\\\n|\#[^\n]*)*+(
      [^\W\d]\w*+(?!["'])
    | \n
    | (?:0[xXbBoO][\da-fA-F_]+ | (?:\d[\d_]*+\.?[\d_]*+ | \.\d[\d_]*+)(?:[eE][+-]?\d+)?[jJ]?)
    | [a-zA-Z]{0,2}(?:
          \"{3}(?:[^"\\]|\\(?s:.)|"(?!""))*+(?:"{3})?
        | '{3}(?:[^'\\]|\\(?s:.)|'(?!''))*+(?:'{3})?
      )
    | [a-zA-Z]{0,2}(?:"(?:[^"\\\n]|\\(?s:.))*+"? | '(?:[^'\\\n]|\\(?s:.))*+'?)
    | [^\W\d]\w*+
    | \*\*= | //= | >>= | <<= | -> | := | \*\* | // | == | != | <= | >=
    | [-+*/%@&|^]= | << | >> | \.\.\. | \S
    )""",
    re.VERBOSE,
)

# Kinds of tokens: what normalising has to tell apart.
PLAIN = 0
NAME = 1
MODULE_NAME = 2
NEWLINE = 3
STRING = 4
OPEN = 5
CLOSE = 6
DOT = 7
EQUAL = 8
COMMA = 9
DEF = 10
SELF = 11
IMPORTING = 12

KINDS = {
    "\n": NEWLINE,
    ";": NEWLINE,
    "(": OPEN,
    "[": OPEN,
    "{": OPEN,
    ")": CLOSE,
    "]": CLOSE,
    "}": CLOSE,
    ".": DOT,
    "=": EQUAL,
    ",": COMMA,
    "def": DEF,
    "self": SELF,
    "import": IMPORTING,
    "from": IMPORTING,
}

# Names that are nobody's own: of the language, of the contract of programs, of Python's builtins.
KEPT = """
False None True and as assert async await break class continue del elif else except finally for
global if in is lambda nonlocal not or pass raise return try while with yield Net forward
supported_hyperparameters train_setup learn __init__ super range len print int float bool str list
tuple dict set zip enumerate min max sum abs round any all map isinstance issubclass getattr
setattr hasattr reversed sorted property staticmethod classmethod object type Exception ValueError
TypeError RuntimeError NotImplementedError AssertionError
"""
# What `self.NAME` means in any torch.nn.Module.
OF_MODULES = """
training parameters named_parameters buffers named_buffers children named_children modules
named_modules train eval apply to cuda cpu half double state_dict load_state_dict register_buffer
register_parameter register_module add_module requires_grad_ zero_grad __class__ __dict__ _modules
_parameters _buffers
"""
KEPT_NAMES = frozenset(KEPT.split())
MODULE_NAMES = frozenset(OF_MODULES.split())


class Vocabulary(dict[str, int]):
    """Token -> number; one that is asked for and has none gets the next.

    kinds, texts and hashes (64 bits) of the normalised tokens are in the order of the numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        """Begin again with no token."""
        self.clear()
        self.kinds = array("B")
        self.hashes = array("Q")
        self.texts: list[str] = []

    def __missing__(self, token: str) -> int:
        kind, text = _classify(token)
        digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest()

        number = self[token] = len(self.texts)
        self.kinds.append(kind)
        self.texts.append(text)
        self.hashes.append(int.from_bytes(digest, "little"))
        return number


VOCABULARY = Vocabulary()


def read_tokens(program: str) -> list[int]:
    """Return the numbers of a program's tokens, comments left out; two line ends close it."""
    text = LINE_END.sub("\n", program) + "\n"
    numbers = list(map(VOCABULARY.__getitem__, TOKEN.findall(text)))
    numbers.append(VOCABULARY["\n"])
    return numbers


def _classify(token: str) -> tuple[int, str]:
    """Return (kind, normalised text) of a token: one form for quotes and for numbers."""
    if token in KINDS:
        return KINDS[token], token

    if token[-1:] in ('"', "'") and len(token) > 1:
        body = token.lstrip("rRbBuUfFtT")
        return STRING, "'" + body.strip(body[0]) + "'"

    starts_with_point = token[:1] == "." and len(token) > 1 and token != "..."
    if token[:1].isdigit() or starts_with_point:
        return PLAIN, _number(token)

    if token.isidentifier() and token not in KEPT_NAMES:
        kind = MODULE_NAME if token in MODULE_NAMES else NAME
        return kind, token

    return PLAIN, token


def _number(token: str) -> str:
    """Return a number in Python's own spelling; what is no plain number stays as it is."""
    try:
        return repr(int(token, 0))
    except ValueError:
        pass

    try:
        return repr(float(token))
    except ValueError:
        return token
