"""docs/judge.md says how many hostile programs there are."""

from catalogue import hostile_programs
from doc_blocks import REWRITE, check
from made import MADE


def test_the_page_of_the_judge_counts_the_hostile_programs(pytestconfig):
    programs = hostile_programs()
    files = len(programs) - len(MADE)
    lines = [
        f"{len(programs)} hostile programs ({files} files in `tests/hostile/programs` and {len(MADE)} generated)",
        "try to get out. Each is run without the static checks, as root and as a plain user, at the levels",
        "`namespaces` and `landlock`, and some inside `bubblewrap`. The header of each says how exactly it has to end.",
    ]
    check("docs/judge.md", "hostile", lines, pytestconfig.getoption(REWRITE))
