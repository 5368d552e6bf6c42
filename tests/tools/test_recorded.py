"""What a job on record had as settings: those of this version, and those of an earlier one by their old names."""

import pytest
from sections import defaults

from archloop.errors import InputError
from archloop.settings.sections import Generation
from archloop.tools.recorded import RecordedJob


def job_with(**generation: object) -> RecordedJob:
    return RecordedJob("generate", {}, {"generation": generation}, {}, {}, [])


def test_what_a_job_was_not_given_has_its_default():
    assert job_with(top_k=7).section(Generation) == defaults(Generation, top_k=7)


def test_a_setting_with_an_old_name_is_read_as_the_new_one():
    assert job_with(opening="class").section(Generation) == defaults(Generation, response_prefix="class")


def test_a_setting_that_this_version_does_not_know_is_refused():
    line = "^generation.colour: made by another version of the workflow, which has it; replay with that version$"
    with pytest.raises(InputError, match=line):
        job_with(colour="red").section(Generation)
