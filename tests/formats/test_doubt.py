"""When a guessed network is believed: by what it names or what its normalisation learnt; else the way out."""

import numpy as np
import pytest

from engine.datasets.trial import TrialPictures
from engine.formats.detect import Found
from engine.formats.doubt import believable, way_out
from engine.formats.opening import Opening
from engine.formats.patience import Patience
from engine.vocabulary import Preprocessing

PICTURES = TrialPictures.of_arrays(
    np.zeros((8, 6, 6, 1), np.uint8), np.arange(8) % 4, ["ant", "bee", "cow", "dog"]
)
FED = Preprocessing(height=6, width=6, color="grey", layout="NCHW", mean=[0.0], std=[1.0])


def found(accuracy, architecture="torchvision/resnet18", seen=None, guess="its stride"):
    facts = {"guess": guess} | ({"strangeness": lambda x: seen} if seen is not None else {})
    opening = Opening(architecture, 6, 6, 1, 4, predict=None, facts=facts)
    return Found(opening, FED, accuracy, [], [])


@pytest.mark.parametrize(
    ("one", "sure"),
    [
        (found(0.63), True),  # half-way from 25 % to all is 62.5 %
        (found(0.62), False),
        (found(0.3, guess=""), True),  # nothing was guessed
        (found(None), True),  # nothing could be tried
        (found(0.3, seen=[0.1, 0.2, 9.0]), True),  # the layers see what they learnt
        (found(0.3, seen=[0.1, 2.0, 3.0]), False),
        (found(0.3, seen=[0.1]), False),  # one layer can't tell
        (found(0.3, "chain:conv", seen=[0.1, 0.2]), False),  # any chain fits its own layers
    ],
)
def test_a_guess_is_believed_by_what_it_names_or_learnt(one, sure):
    assert (way_out(one, PICTURES, Patience()) == "") == sure


def test_the_way_out_names_the_command_and_the_guess():
    said = way_out(found(0.3), PICTURES, Patience())
    assert (
        "30.0%" in said
        and "torch.rand(1, 1, 6, 6)" in said
        and "--architecture 'torchvision/resnet18'" in said
    )
    assert not believable(found(0.3), PICTURES)
    rushed = way_out(found(0.3, seen=[0.1, 0.1]), PICTURES, Patience(cpu=0.0), complete=False)
    assert "too busy" in rushed and "later" in rushed
