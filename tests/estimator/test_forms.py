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


def recipe(count):
    """So many candidates that nothing is known of."""
    return forms.Recipe(candidates=tuple(((str(i),), 0.0) for i in range(count)))


def errors(groups, *of_candidates):
    """Predictions that are off by so much (log), one figure a candidate, whatever was held out."""
    rows = len(groups[0].x)
    return [
        {by: np.exp(np.array([[error] * rows for error in of_candidates])) for by in forms.HELD_OUT}
        for _ in groups
    ]


def test_forms_that_err_less_count_more(groups):
    for weight in forms.weights(groups, errors(groups, 0.05, 0.10, 0.40), recipe=recipe(3)):
        assert weight.sum() == pytest.approx(1) and weight[0] > weight[1] > weight[2]


def test_equals_count_alike(groups):
    assert np.allclose(forms.weights(groups, errors(groups, 0.2, 0.2, 0.2, 0.2), recipe=recipe(4)), 0.25)


def test_the_plain_roofline_goes_first_until_another_errs_less(groups):
    two = forms.Recipe(candidates=(forms.ROOFLINE, (forms.MIXED, 0.03)))
    equal, better = (forms.weights(groups, errors(groups, 0.3, other), recipe=two)[0] for other in (0.3, 0.1))
    assert equal[0] == pytest.approx(forms.ODDS / (forms.ODDS + 1)) and better[1] > 0.5


def test_with_many_families_the_plain_roofline_keeps_a_share(groups):
    two = forms.Recipe(candidates=(forms.ROOFLINE, (forms.MIXED, 0.03)))
    for group in groups:
        group.family = np.arange(12).astype(str)
    other = forms.weights(groups, errors(groups, 3.0, 0.0), recipe=two)[0][1]
    assert other == pytest.approx(1 - forms.SHARE, abs=1e-3)


@pytest.mark.parametrize("by", forms.HELD_OUT)
def test_what_was_left_out_has_no_say_in_how_it_is_predicted(groups, by):
    tried = errors(groups, 0.1, 0.1)
    label = groups[0].labels(by)[0]
    before = forms.weights(groups, tried, by, label, recipe(2))
    for predicted in tried[0].values():
        predicted[0, groups[0].labels(by) == label] = 5
    assert np.allclose(forms.weights(groups, tried, by, label, recipe(2)), before)
    assert not np.allclose(forms.weights(groups, tried, recipe=recipe(2)), before)


def test_one_wild_network_does_not_choose(groups):
    tried = errors(groups, 0.1, 0.1)
    tried[0]["family"][0, 0] = 1e3
    wild = forms.weights(groups, tried, recipe=recipe(2))[0]
    tried[0]["family"][0, 0] = np.exp(forms.LARGEST)
    assert np.allclose(forms.weights(groups, tried, recipe=recipe(2))[0], wild)


def test_a_group_is_heard_on_itself_but_borrows(groups):
    tried = [errors(groups, 0.1, 0.2)[0], errors(groups, 0.1, 0.1)[0]]
    first, second = forms.weights(groups, tried, recipe=recipe(2))
    assert first[0] > second[0] > 0.5


def test_only_the_edge_tpu_spills():
    for name, group in coefficients.load()["groups"].items():
        assert ("spilled" in group["terms"]) == ("|edgetpu|" in name)


def test_every_form_has_the_four_kinds_of_macs():
    assert forms.ROOFLINE in forms.CANDIDATES and len(set(forms.CANDIDATES)) == len(forms.CANDIDATES)
    for form, _ in forms.CANDIDATES:
        assert set(forms.PLAIN[2:6]) <= set(form) and len(set(form)) == len(form)
