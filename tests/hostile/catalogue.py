"""The hostile and the honest programs with what their headers say, for the tests and for the driver of a plain user."""

from dataclasses import dataclass
from pathlib import Path

from made import MADE

FOLDER = Path(__file__).parent
GROUPS = (
    "bombs",
    "loops",
    "uninterruptible",
    "writes",
    "devices",
    "secrets",
    "network",
    "descriptors",
    "exits",
    "forgery",
    "patches",
    "budget",
    "introspection",
    "imports",
    "logits",
    "images",
    "persistence",
    "floods",
    "text",
    "parser",
    "nondeterminism",
    "outlive",
    "kernel",
    "names",
    "gpu",
)


@dataclass(frozen=True)
class Hostile:
    """A program, what it tries, and how it ends: with the static check, and in the sandbox alone.

    One outcome each, or several and `why`. landlock: at that level, where the others end it in another way.
    """

    name: str
    group: str
    tries: str
    static: tuple[str, ...]
    sandbox: tuple[str, ...]
    landlock: tuple[str, ...]
    why: str
    timeout_s: float
    below: float | None
    repeat: int

    @property
    def program(self) -> str:
        return MADE[self.name][1]() if self.name in MADE else (FOLDER / "programs" / f"{self.name}.py").read_text()

    def ends(self, level: str) -> tuple[str, ...]:
        """Return the outcomes in the sandbox of a level, `+gpu` or not."""
        return self.sandbox if level.startswith("namespaces") else self.landlock


def hostile_programs() -> list[Hostile]:
    """Return all hostile programs, by name."""
    files = {path.stem: _header(path.read_text()) for path in (FOLDER / "programs").glob("*.py")}
    return [_hostile(name, head) for name, head in sorted((files | {n: head for n, (head, _) in MADE.items()}).items())]


def honest_programs() -> dict[str, str]:
    """Return the honest programs by name: those in honest/ and the first of six of the project's families."""
    from archloop.families.programs import family_programs

    programs = {path.stem: path.read_text() for path in sorted((FOLDER / "honest").glob("*.py"))}
    for family in ("plain", "residual", "dense", "inception", "convnext", "squeeze_excitation"):
        programs[f"family_{family}"] = family_programs(family)[0].program
    return programs


def _hostile(name: str, head: dict[str, str]) -> Hostile:
    below = float(head["below"]) if "below" in head else None
    outcomes = (head["static"], head["sandbox"], head.get("landlock", head["sandbox"]))
    static, sandbox, landlock = (tuple(each.split(", ")) for each in outcomes)
    timeout_s, repeat = float(head.get("timeout", 20)), int(head.get("repeat", 1))
    words = (head["group"], head["tries"], static, sandbox, landlock, head.get("why", ""))
    return Hostile(name, *words, timeout_s, below, repeat)


def _header(text: str) -> dict[str, str]:
    head = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            break
        key, _, value = line[2:].partition(": ")
        head[key] = value
    return head
