"""What is said of settings that do not fit."""

import pytest

from archloop.errors import InputError
from archloop.settings.complete import complete


def refusal(config: dict) -> str:
    with pytest.raises(InputError) as caught:
        complete(config)
    line = str(caught.value)
    assert "\n" not in line
    return line
