"""A pytest plugin for trials: the safeguard that KOPITRA_ABLATE names is out before any test is read."""

import os

from tests.faults.ablating import VARIABLE
from tests.faults.ablations import BY_NAME
from tests.faults.knife import Knife


def pytest_configure() -> None:
    """The process runs nothing else, so that nothing is put back."""
    name = os.environ.get(VARIABLE, "")
    if name:
        BY_NAME[name].cut(Knife())
