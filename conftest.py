"""Puts the root on the path, so that tests import ``book`` wherever pytest is started, and sets up nbval's kernels."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from book import kernels


def pytest_configure(config: pytest.Config) -> None:
    """Give the kernels that nbval starts the environment that ``make run`` recorded the outputs in."""
    if getattr(config.option, "nbval", False):
        os.environ.update(kernels.environment())
        kernels.warm_up()
