"""Compiling ahead reaches every loop that numba compiles in the package, so that no test has to wait for one."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import kb
from book import compiled
from kb.nn.processor import panels_are_fast

# Nothing calls these where the processor is not one that they are written for.
IN_PANELS = {
    "kb.nn.panel_linear_numba.product",
    "kb.nn.panel_linear_numba.rotate",
    "kb.serving.chunk_attention_numba._attend",
}


def loops(module: ModuleType) -> dict[str, bool]:
    """The functions of a module that run on several threads, which Python calls, and whether each was called.

    What these call is compiled into them, and not loaded for itself where they are there already.
    """
    from numba.core.dispatcher import Dispatcher

    made = {name: one for name, one in vars(module).items() if isinstance(one, Dispatcher)}
    outer = {name: one for name, one in made.items() if one.targetoptions.get("parallel")}
    return {f"{module.__name__}.{name}": bool(one.signatures) for name, one in outer.items()}


def test_every_loop_is_compiled() -> None:
    pytest.importorskip("numba")
    assert compiled.main() == 0
    names = [found.name for found in pkgutil.walk_packages(kb.__path__, "kb.") if found.name.endswith("_numba")]
    found: dict[str, bool] = {}
    for name in names:
        found |= loops(importlib.import_module(name))
    assert len(found) > 12
    missing = {name for name, called in found.items() if not called}
    assert missing == (set() if panels_are_fast() else IN_PANELS)


def test_without_numba_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "find_spec", lambda _: None)
    monkeypatch.setattr(compiled, "trees", None)
    assert compiled.main() == 0
