"""What each setting rebuilds: every key of every section of the schema, changed alone on a finished run."""

import copy

import pytest
from rerun_tables import rows_of_settings
from small_run import small_settings
from stages import graph, heads, words

from archloop.settings.schema import schema

JOBS = graph({"main": 2})
MORE_SHARDS = {
    "cycle.shards": graph({"main": 2}, shards=3),
    "seed_corpus.shards": graph({"main": 2}, seed_shards=2),
}
# Values of keys whose rule does not suggest another one.
OTHER = {
    "model.name": "other",
    "model.reference": "folder:elsewhere",
    "model.revision": "0123abc",
    "model.sha256": "0" * 64,
    "data.root": "elsewhere",
    "data.folder": "elsewhere",
    "data.folder_name": "flowers",
    "seed_corpus.lemur_folder": "elsewhere",
    "seed_corpus.source": None,  # lemur wants a folder, and the key of the folder has a plan of its own
    "seed_corpus.families": ["plain"],
    "prompts.template": "config/prompts/hints.yaml",
    "prompts.hints": "config/prompts/hints.yaml",
    "finetuning.targets": ["q_proj"],
    "finetuning.layers": [0, 1],
    "finetuning.train_on": "seed_corpus",
    "finetuning.rejected": ["unsafe"],
    "report.title": "Another headline",
    "report.loop": "another",
    "report.controls": ["random"],
    "execution.device": "cpu",
    "execution.workers": 2,
}
NOTHING = "rebuilds nothing"


def sections() -> dict[str, dict]:
    named = {key: rule["$ref"].split("/")[-1] for key, rule in schema()["properties"].items() if "$ref" in rule}
    return {key: schema()["$defs"][name] for key, name in named.items()}


def keys() -> list[str]:
    return ["random_seed", *(f"{name}.{key}" for name, rule in sections().items() for key in rule["properties"])]


def marked(key: str) -> bool:
    """Tell whether the schema says of a key, or of its section, that it rebuilds nothing."""
    name, _, inner = key.partition(".")
    rule = sections().get(name, {})
    return any(NOTHING in each.get("$comment", "") for each in (rule, rule.get("properties", {}).get(inner, {})))


def other(key: str, now: object, rule: dict) -> object:
    """Return another value of a key than it has now, one that its rule allows."""
    if key in OTHER:
        return OTHER[key]
    if "enum" in rule:
        return next(value for value in rule["enum"] if value != now)
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if "boolean" in kinds:
        return not now
    if "integer" in kinds:
        return (now if now is not None else rule.get("minimum", 0)) + 1
    assert "number" in kinds, f"{key}: write another value of it into OTHER"
    return (now or 0.5) / 2


def with_other(key: str) -> dict:
    settings = small_settings()
    name, _, inner = key.partition(".")
    if not inner:
        return settings | {name: settings[name] + 1}
    rule = sections()[name]["properties"][inner]
    section = settings.setdefault(name, {})
    section[inner] = other(key, section.get(inner, rule.get("default")), rule)
    if key == "seed_corpus.source":
        section |= {"source": "lemur", "lemur_folder": "config"}  # any folder that is there
    return copy.deepcopy(settings)


@pytest.fixture(scope="session")
def table(plan_settings) -> dict[str, object]:
    """Key -> the plan after a change of it alone."""
    return dict(zip(keys(), plan_settings([with_other(key) for key in keys()])))


@pytest.mark.workflow
def test_every_key_rebuilds_something_with_all_that_follows_or_is_marked(table):
    for key, plan in table.items():
        assert plan.status == 0, f"{key}: {plan.text[-2000:]}"
        assert bool(plan.jobs) != marked(key), f"{key}: {sorted(plan.jobs)}"
        assert words(plan.jobs, MORE_SHARDS.get(key, JOBS)), key


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("random_seed", {"prepare_dataset digits"}),
        ("model.reference", {"prepare_model"}),
        ("loading.dtype", {"finetune_seed"}),
        ("data.validation_share", {"prepare_dataset digits"}),
        ("seed_corpus.per_family", {"write_seed_programs"}),
        ("cycle.candidates", {"write_prompts main/1", "write_prompts main/2"}),
        ("generation.temperature", {"generate main/1/0", "generate main/1/1"}),
        ("evaluation.learning_rate", {"evaluate_seed 0"}),
        ("admission.threshold", {"admit main/1"}),
        ("novelty.gate", {"admit main/1"}),
        ("finetuning.learning_rate", {"finetune_seed"}),
        ("report.title", {"report"}),
    ],
)
def test_a_setting_rebuilds_its_stage_and_exactly_what_follows(table, key, first):
    assert heads(table[key].jobs, JOBS) == first


@pytest.mark.workflow
def test_the_page_says_of_every_setting_what_was_found(table, rerun_table):
    found = {key: words(plan.jobs, MORE_SHARDS.get(key, JOBS)) for key, plan in table.items()}
    rerun_table("settings", rows_of_settings(found))
