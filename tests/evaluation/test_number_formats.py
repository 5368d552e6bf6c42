"""Number formats and layouts: which are tried in what order, and what an error on the way means."""

import contextlib

import pytest
import torch

from archloop.evaluation.devices import resolved_precision
from archloop.evaluation.networks import Stop
from archloop.evaluation.number_formats import PLAIN, Format, autocast, first_that_works, formats

HALF, LAST = Format("bfloat16", "contiguous"), Format("float32", "channels_last")
BOTH = Format("bfloat16", "channels_last")


def test_the_fastest_come_first_and_what_any_sound_program_takes_last():
    assert formats("bfloat16", "cuda:1") == [BOTH, HALF, LAST, PLAIN]
    assert formats("float32", "cuda") == [LAST, PLAIN]
    assert formats("bfloat16", "cpu") == [HALF, PLAIN]
    assert formats("float32", "cpu") == [PLAIN]
    assert (str(PLAIN), str(BOTH)) == ("float32, contiguous", "bfloat16, channels_last")


def tried(*errors: BaseException | None) -> tuple[Format, int]:
    """Return the format that is taken where trials raise these errors in turn, and how many were made."""
    left, tried_out = iter(errors), []

    def try_out(choice: Format) -> None:
        tried_out.append(choice)
        error = next(left)
        if error:
            raise error

    choice_taken = first_that_works([BOTH, HALF, LAST, PLAIN], try_out)
    assert tried_out == [BOTH, HALF, LAST][: len(tried_out)]
    return choice_taken, len(tried_out)


def test_the_first_format_that_works_is_taken_and_the_last_is_not_tried():
    assert tried(None) == (BOTH, 1)
    assert tried(RuntimeError("view"), ValueError(), None) == (LAST, 3)
    assert tried(RuntimeError("view"), ValueError(), TypeError()) == (PLAIN, 3)


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (Stop("diverged", "no number"), Stop, "no number"),
        (RuntimeError("CUDA out of memory"), Stop, "CUDA out of memory"),
        (RuntimeError("CUDA error: busy"), RuntimeError, "busy"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_what_says_nothing_of_a_format_ends_the_trials(error, raised, says):
    with pytest.raises(raised, match=says):
        tried(error)


def test_missing_memory_is_an_outcome_of_its_own():
    with pytest.raises(Stop) as caught:
        tried(MemoryError())
    assert caught.value.outcome == "out_of_memory"


def test_a_forward_pass_in_bfloat16_is_under_autocast():
    with autocast("bfloat16", "cpu"):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.bfloat16
    assert isinstance(autocast("float32", "cpu"), contextlib.nullcontext)


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bfloat16_where_a_gpu_has_it_in_hardware(monkeypatch, has):
    asked = []
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **how: asked.append(how) or has)
    assert resolved_precision("auto", "cuda:0") == ("bfloat16" if has else "float32")
    assert asked == [{"including_emulation": False}]
    assert resolved_precision("auto", "cpu") == "float32"
    assert (resolved_precision("bfloat16", "cpu"), resolved_precision("float32", "cuda")) == ("bfloat16", "float32")
