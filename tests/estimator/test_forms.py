"""How forms are weighted: by their errors on held-out families, without the family that they are tried on."""

import numpy as np
import pytest

from estimator import coefficients
from estimator.fitting import forms
from estimator.fitting.fit import Group


@pytest.fixture
def groups():
    """Two groups of 12 networks in 6 families that all took 1 ms."""
    family = np.repeat(list("abcdef"), 2)
    return [
        Group(
            f"d{i}|ncnn|float32|1",
            np.ones((12, 1)),
            np.ones(12),
            family,
            np.arange(12).astype(str),
            "p",
            False,
        )
        for i in range(2)
    ]


def test_forms_that_err_less_count_more(groups):
    tried = [np.exp(np.array([[0.05] * 12, [0.10] * 12, [0.40] * 12])) for _ in groups]
    for weight in forms.weights(groups, tried):
        assert weight.sum() == pytest.approx(1) and weight[0] > weight[1] > weight[2]


def test_equals_count_alike(groups):
    tried = [np.full((4, 12), 1.2) for _ in groups]
    assert np.allclose(forms.weights(groups, tried), 0.25)


def test_a_family_has_no_say_in_how_it_is_predicted(groups):
    tried = [np.exp(np.array([[0.1] * 12, [0.1] * 12])) for _ in groups]
    before = forms.weights(groups, tried, "c")
    tried[0][0, groups[0].family == "c"] = 5
    assert np.allclose(forms.weights(groups, tried, "c"), before)
    assert not np.allclose(forms.weights(groups, tried), before)


def test_one_wild_network_does_not_choose(groups):
    tried = [np.exp(np.array([[0.1] * 12, [0.1] * 12])) for _ in groups]
    tried[0][0, 0] = 1e3
    wild = forms.weights(groups, tried)[0]
    tried[0][0, 0] = np.exp(forms.LARGEST)
    assert np.allclose(forms.weights(groups, tried)[0], wild)


def test_a_group_is_heard_on_itself_but_borrows(groups):
    tried = [np.exp(np.array([[0.1] * 12, [0.2] * 12])), np.exp(np.array([[0.1] * 12, [0.1] * 12]))]
    first, second = forms.weights(groups, tried)
    assert first[0] > second[0] > 0.5


def test_only_the_edge_tpu_spills():
    for name, group in coefficients.load()["groups"].items():
        assert ("spilled" in group["terms"]) == ("|edgetpu|" in name)


def test_every_form_has_the_four_kinds_of_macs():
    for form in forms.FORMS:
        assert set(forms.PLAIN[2:6]) <= set(form) and len(set(form)) == len(form)


def test_the_plain_roofline_is_among_the_candidates():
    assert (forms.PLAIN, 0.0) in forms.CANDIDATES and len(set(forms.CANDIDATES)) == len(forms.CANDIDATES)
