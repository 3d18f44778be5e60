"""Tests that need a process of their own: Triton reads once, when it is imported, whether it is to interpret."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def run(*line: str, **environment: str) -> str:
    """What a Python started with these arguments prints; it must end well."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONWARNINGS": "ignore",
        **environment,
    }
    done = subprocess.run([sys.executable, *line], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreted(file: str) -> Any:
    """What a file prints as JSON when it is run with Triton's interpreter."""
    require_triton()
    return json.loads(run(file, TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES=""))


def compiled(code: str, folder: Path) -> None:
    """Run code that compiles kernels, whose results go into a folder."""
    require_triton()
    run("-c", code, TRITON_CACHE_DIR=str(folder), TRITON_INTERPRET="0")


def require_triton() -> None:
    """Skip the test where there is no Triton."""
    if find_spec("triton") is None:
        pytest.skip("Triton is not installed")
