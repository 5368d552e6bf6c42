"""The versions that pip installs, that conda installs, and that the constraints pin are the same."""

import re

import yaml


def pins(lines) -> dict[str, str]:
    found = (re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.strip()) for line in lines)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def test_conda_has_the_versions_of_pip(root):
    conda = yaml.safe_load((root / "envs" / "archloop.yaml").read_text())
    (through_pip,) = (part["pip"] for part in conda["dependencies"] if isinstance(part, dict))
    wanted = pins((root / "envs" / "requirements.txt").read_text().splitlines())
    assert wanted and pins(through_pip) == wanted


def test_the_constraints_agree_with_the_requirements(root):
    constraints = pins((root / "envs" / "constraints.txt").read_text().splitlines())
    for name in ("requirements.txt", "requirements-dev.txt"):
        for package, version in pins((root / "envs" / name).read_text().splitlines()).items():
            assert constraints.get(package, version) == version, package


def test_the_container_installs_the_requirements_and_repeats_no_version(root):
    sections = re.split(r"^%(\w+)$", (root / "envs" / "archloop.def").read_text(), flags=re.MULTILINE)
    parts = dict(zip(sections[1::2], sections[2::2]))
    copied = dict(line.split() for line in parts["files"].strip().splitlines())
    (install,) = parts["post"].strip().splitlines()
    given = dict(re.findall(r"(-r|-c) (\S+)", install))
    assert {option: next(here for here, there in copied.items() if there == given[option]) for option in given} == {
        "-r": "envs/requirements.txt",
        "-c": "envs/constraints.txt",
    }
    assert not re.search("[=<>~]=", install)
    conda = yaml.safe_load((root / "envs" / "archloop.yaml").read_text())
    python = next(part.partition("=")[2] for part in conda["dependencies"] if str(part).startswith("python="))
    assert f"From: python:{python}-slim" in sections[0]
