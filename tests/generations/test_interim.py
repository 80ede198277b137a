"""The sentences of notices (interim.py)."""

from typing import get_args

import pytest

from protocol.frames import Phase
from server.generations.interim import sentence


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("free", [False, True])
def test_every_phase_has_a_sentence_without_the_names_of_things_inside(phase: Phase, free: bool):
    words = sentence(phase, free=free)
    assert words[0].isupper()
    assert words[-1] in ".…"
    assert not {"timeout", "node", "redis", "openrouter", "token"} & set(
        words.lower().replace(".", " ").split()
    )


def test_every_phase_says_something_else():
    assert len({sentence(phase, free=False) for phase in get_args(Phase)}) == len(get_args(Phase))


def test_waiting_for_a_free_model_is_explained_and_nothing_else_is():
    explained = [
        phase for phase in get_args(Phase) if sentence(phase, free=True) != sentence(phase, free=False)
    ]
    assert explained == ["waiting"]
    assert sentence("waiting", free=True).startswith(sentence("waiting", free=False))
