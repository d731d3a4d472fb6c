"""One workspace with prepared digits for all tests here."""

import pytest

from engine import datasets


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A workspace with the digits prepared."""
    home = tmp_path_factory.mktemp("home")
    datasets.prepare("digits", home)
    return home
