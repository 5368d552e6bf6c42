"""Files of YAML that people write: what is wrong in them is one line with the file's name."""

import re

import pytest

from archloop.errors import InputError
from archloop.yaml_files import read_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nrun:\n  gpus: 1\n  gpus: 0\n", "line 4: gpus is given twice, first in line 3"),
        ("chains:\n  - {a: 1,\n     a: 2}\n", "line 3: a is given twice, first in line 2"),
        ('{"seed": 1, "seed": 2}', "line 1: seed is given twice, first in line 1"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_with_its_line(tmp_path, text, says):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / "my.yaml")
    assert str(caught.value) == f"{tmp_path}/my.yaml, {says}"


@pytest.mark.parametrize("text", [".nan", "-.inf", "1.0e+999"])
def test_a_number_of_yaml_that_is_not_finite_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "my.yaml").write_text(f"a: 1\nb:\n  c: [{text}]\n")
    with pytest.raises(InputError, match=re.escape(f"line 3: {text} is no finite number")):
        read_yaml(tmp_path / "my.yaml")


def test_what_anchors_repeat_is_no_key_given_twice(tmp_path):
    (tmp_path / "my.yaml").write_text("a: &x {b: 1}\nc: *x\nd: {<<: *x, b: 2}\ne: [*x, *x]\n")
    assert read_yaml(tmp_path / "my.yaml")["d"] == {"b": 2}


@pytest.mark.parametrize(
    "text", ["a: [1, 2\n", "a: 2026-13-45\n", "{[]: 1}: 2\n", "a: \x01\n", "a: !!python/name:os\n"]
)
def test_what_is_no_yaml_is_one_line_that_names_the_file(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(InputError, match=r"my.yaml: no YAML \(") as caught:
        read_yaml(tmp_path / "my.yaml")
    assert "\n" not in str(caught.value)
