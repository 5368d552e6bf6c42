"""The pages: each answers one question, links lead somewhere, and computed numbers are those of the code."""

import ast
import csv
import re
import tomllib
from xml.etree import ElementTree

import pytest
import settings_page
import yaml
from benchmark_modules import load
from doc_blocks import REWRITE, ROOT, check, table
from edit_pairs import PAIRS

from archloop import site_limits
from archloop.families.programs import family_names, seed_programs
from archloop.outcomes import OUTCOMES
from archloop.sandbox.isolation import MAXIMUM_THREADS, OPEN_FILES, SCRATCH_FILES, SCRATCH_MB
from archloop.settings.complete import complete
from archloop.settings.schema import schema

# The pages in the order of README's list, most wanted first.
ORDER = (
    "profiles/slurm/README.md",
    "docs/own-model.md",
    "docs/own-images.md",
    "docs/chains.md",
    "docs/admission.md",
    "docs/settings.md",
    "docs/reruns.md",
    "docs/report.md",
    "docs/gallery.md",
    "docs/live.md",
    "docs/troubleshooting.md",
    "docs/judge.md",
    "docs/novelty.md",
    "docs/language-model.md",
    "docs/datasets.md",
    "docs/provenance.md",
    "docs/scaling.md",
    "docs/study.md",
    "docs/experiments.md",
    "docs/module.md",
    "docs/architecture.md",
    "docs/add-figure.md",
    "docs/add-dataset.md",
    "docs/glossary.md",
)
PAGES = (*ORDER, "README.md", "CONTRIBUTING.md", "CHANGELOG.md")
# Words of which docs/glossary.md, or the field, has a better one.
PRIVATE = re.compile(
    r"\b(walls?(?!-clock)|keepers?|twins?|anew|unrun|lessons?|taught|dice|mends?|facts|tiny job)\b"
    r"|\b(but for|carried on|goes? on)\b"
)
# Of these a message or a comment of the code has none either.
PRIVATE_IN_CODE = re.compile(
    r"\b(walls?(?!-clock)|keepers?|twins?|anew|unrun|lessons?|taught|dice|mends?|carried on)\b"
)
CODE = ("Snakefile", "rules/*.smk", "scripts/**/*.py", "benchmarks/*.py", "report/*.j2", "report/*.js")
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "profiles/*/*", "config/**/*.yaml")
TEXTS += ("examples/*", "report/captions/*", "report/*.rst", "tests/test.yaml")
# A file of the repository in code, such as `rules/seed.smk`; the results of a run and files of your own are none.
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml|sh|smk|j2|rst|md|toml|def|sbatch|js))`")
ELSEWHERE = re.compile(r"^(results/|resources/|logs/|\.?/?path/|my\.yaml|data/)|[A-Z]{3}")
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")
# What a file of settings costs beyond the one before it: the files, and what a person would call it.
COSTS = {
    "config.yaml": "the paper's experiment: main with a control, then CIFAR-100 and SVHN",
    "ablations.yaml": "after `config/config.yaml`: repeats, baselines, ablations",
    "images.yaml": "your own images, with a control",
}


@pytest.fixture
def rewrite(pytestconfig) -> bool:
    return pytestconfig.getoption(REWRITE)


@pytest.fixture(scope="module")
def cost():
    return load("cost")


def question(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def test_every_page_begins_with_the_question_that_it_answers():
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")} | {"profiles/slurm/README.md"}
    assert pages == set(ORDER)
    assert [page for page in ORDER if not question(page).endswith("?")] == []


def test_the_readme_is_short_and_lists_every_page(rewrite):
    rows = [(question(page), f"[{page}]({page})") for page in ORDER]
    check("README.md", "pages", table(("question", "page"), rows), rewrite)
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page):
    links = [link for link, _ in LINK.findall((ROOT / page).read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.fixture(scope="module")
def files() -> list[str]:
    """The files of the repository, without what a run or a set-up leaves there."""
    folders = ("benchmarks", "config", "docs", "envs", "examples", "profiles", "report", "rules", "scripts", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    return [f"/{path.relative_to(ROOT)}" for path in paths if path.is_file()]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_file_that_a_page_names_is_there(page, files):
    """A name with folders may leave out the first ones: evaluation/machine_check.py."""
    named = NAMED_FILE.findall((ROOT / page).read_text(encoding="utf-8"))
    missing = [name for name in named if not any(file.endswith(f"/{name}") for file in files)]
    assert [name for name in missing if not ELSEWHERE.search(name)] == []


def test_the_picture_of_a_cycle_has_a_title_and_words_on_grounds_of_their_own():
    """So it is read on white and on dark: text stands in front of a filled box alone."""
    picture = ElementTree.parse(ROOT / "docs" / "images" / "cycle.svg").getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert picture.find(f"{name}title").text and picture.find(f"{name}desc").text
    for group in picture.iter(f"{name}g"):
        if group.findall(f"{name}text"):
            assert group.find(f"{name}rect").get("fill").startswith("#")


def test_the_page_of_settings_is_that_of_the_schema(rewrite):
    check("docs/settings.md", "settings", settings_page.lines(schema()), rewrite)


def test_the_readme_says_what_each_file_of_settings_costs(cost, rewrite):
    rows = []
    for name, words in COSTS.items():
        added = cost.added(cost.SHIPPED[name])
        rows.append(
            (f"`config/{name}`", words, f"{added.jobs:,}", f"{added.candidates:,}")
            + (f"{cost.stated_hours(added):,}", f"{added.gigabytes:.0f} GB", f"{round(added.files, -2):,}")
        )
    head = ("file", "what it is", "jobs", "candidates", "GPU-hours", "disk", "files")
    check("README.md", "costs", table(head, rows), rewrite)


@pytest.mark.parametrize("name", ["demo.yaml", "study.yaml", "controls.yaml"])
def test_a_small_settings_file_says_how_many_jobs_and_candidates_it_has(cost, name):
    whole = cost.cost(complete(cost.laid_over([name])))
    head = (ROOT / "config" / name).read_text().split("random_seed", 1)[0]
    assert f"{whole.jobs:,} jobs, {whole.candidates:,} candidates" in head.replace("\n# ", " ")


def test_the_page_of_scaling_counts_the_files_of_every_job(cost, rewrite):
    settings = complete(cost.laid_over(["config.yaml"]))
    stages = [(stage, each, jobs, each * jobs) for stage, each, jobs in cost.files_of_stages(settings)]
    cycles = sum(chain.get("cycles", 0) for chain in settings["chains"].values())
    stages.append(("folders of a cycle", cost.FOLDERS, cycles, cost.FOLDERS * cycles))

    rows = [(name, each, f"{jobs:,}", f"{files:,}") for name, each, jobs, files in stages]
    rows.append(("stored scores (`results/evaluations`)", "", "", f"{cost.SCORES} at most"))
    rows.append(("exported designs", 3, "number of designs", "3 per design"))
    rows.append(("together, without exported designs", "", "", f"{cost.cost(settings).files:,}"))
    check("docs/scaling.md", "files", table(("job", "files per job", "jobs", "files"), rows), rewrite)


def test_the_simulated_runs_have_the_jobs_that_the_settings_plan(cost):
    """The times are written by benchmarks/scale.py, whose plans take half a minute; the jobs are held here."""
    scale = load("scale")
    text = scale.PAGE.read_text()
    lines = text[text.index(scale.MARKS[0]) : text.index(scale.MARKS[1])].splitlines()[3:]
    config = cost.laid_over(["config.yaml"])
    assert len(lines) == 8
    for line in lines:
        chains, gpus, shards, jobs = (int(cell.replace(",", "")) for cell in line.split("|")[1:5])
        planned = cost.cost(complete(scale.side_by_side(config, chains, shards)))
        assert (shards, jobs) == (gpus if gpus >= 16 else config["cycle"]["shards"], planned.jobs + 1), line


@pytest.mark.parametrize(("patterns", "private"), [(TEXTS, PRIVATE), (CODE, PRIVATE_IN_CODE)], ids=["texts", "code"])
def test_what_a_person_reads_has_no_private_words(patterns, private):
    found = []
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)}):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if word := private.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {word[0]}")
    assert found == []


def test_the_study_states_the_shares_of_its_own_tables():
    """The table of docs/study.md, and the sentence of the README about it, are those of docs/study/results.csv."""
    with (ROOT / "docs" / "study" / "results.csv").open() as opened:
        rows = {row["chain"].split(",")[0]: row for row in csv.DictReader(opened)}
    lines = (ROOT / "docs" / "study.md").read_text().splitlines()
    for chain, row in rows.items():
        line = next(line for line in lines if line.startswith(f"| {chain.replace('_', ' ')}"))
        cells = [cell.strip() for cell in line.split("|")]
        stated = [float(re.match(r"[\d.]+", cells[column])[0]) for column in (2, 4)]
        assert stated == [round(100 * float(row[name]), 1) for name in ("valid", "yield")], chain
    shares = [f"{100 * float(rows[name]['valid']):.1f} %" for name in ("main", "frozen")]
    assert f"({shares[0]} against {shares[1]})" in (ROOT / "README.md").read_text()


def messages() -> list[str]:
    """Return every text in the scripts and the library, with {} where a value goes, and the rule files."""
    found = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_the_messages_that_the_page_of_troubles_explains_are_ours_or_of_other_programs():
    of_others = {"FileNotFoundError", "--configfile X target", "command not found: snakemake"}
    known, missing = messages(), []
    for line in (ROOT / "docs" / "troubleshooting.md").read_text().splitlines():
        quoted = re.findall("`([^`]+)`", line.split("|")[1]) if line.startswith("| ") else []
        parts = [part.strip() for text in quoted if text not in of_others for part in text.split("...")]
        missing += [part for part in parts if not any(part in text for text in known)]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("docs/judge.md", f"{MAXIMUM_THREADS} threads, {OPEN_FILES} open files, {SCRATCH_MB} MB per file"),
        ("docs/judge.md", f"a stack of {site_limits.STACK // 2**20} MB"),
        ("docs/judge.md", f"in-memory scratch folder ({SCRATCH_MB} MB, {SCRATCH_FILES:,} files)"),
        ("docs/novelty.md", f"{len(PAIRS)} edits of six programs"),
        ("config/config.yaml", f"{len(seed_programs())} programs from {len(family_names())} templates"),
        ("CHANGELOG.md", f"{len(OUTCOMES)} outcomes"),
    ],
)
def test_a_number_on_a_page_is_that_of_the_code(page, said):
    assert said in " ".join((ROOT / page).read_text(encoding="utf-8").split())


def test_the_readme_names_every_outcome_in_its_order():
    named = re.findall(
        "`([a-z_]+)`", (ROOT / "README.md").read_text().split("## How it works")[1].split("## Commands")[0]
    )
    assert [name for name in named if name in OUTCOMES] == list(OUTCOMES)


def test_one_version_is_cited_and_has_its_part_of_the_changelog():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()
