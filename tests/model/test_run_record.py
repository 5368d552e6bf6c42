"""The record that a job of the language model leaves of itself."""

import platform
from importlib import metadata

from archloop.files import read_json
from archloop.model.run_record import write_run_record


def test_a_record_holds_what_was_done_its_seconds_and_the_versions(tmp_path):
    path = tmp_path / "record.json"
    write_run_record(path, {"device": "cpu", "tokens": 7}, 1.23456)

    record = read_json(path)
    versions = record.pop("versions")
    assert record == {"device": "cpu", "tokens": 7, "seconds": 1.23}
    assert versions["kernel"] == platform.release()
    assert versions["torch"] == metadata.version("torch")
