"""The floors of the house: who may import whom, what importing may cost, and how long a file or a function may be."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
MODULES = sorted((SRC / "kb").rglob("*.py"))
MACHINERY = sorted(path for part in ("book", "benchmarks") for path in (ROOT / part).rglob("*.py"))

LONGEST_FILE = 300
LONGEST_FUNCTION = 50
IMPORT_SECONDS = 0.1

# Every part may import its own package, these, and what EXTRA grants it.
GROUND = {
    "arguments",
    "installed",
    "tables",
    "runtime",
    "plotting",
    "timing",
    "datasets",
    "pip_process",
    "whole_file",
    "checkpoints",
    "counting",
    "intervals",
}
FLOORS = {"nn", "lm", "training"}
EXTRA = {"cot": {"serving"}, "evaluation": {"serving"}, "moe.parallel": {"distributed"}}
# The floors themselves stand on less than what stands on them: the ground imports only the ground.
BELOW = {"nn": GROUND, "lm": GROUND | {"nn"}, "training": GROUND | {"nn", "lm"}} | dict.fromkeys(GROUND, GROUND)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


@dataclass(frozen=True)
class Facts:
    """What the rules ask of a file, from one parse; the trees of all files would be too much to keep."""

    parts: set[str]
    modules: set[str]
    lines: int
    functions: dict[str, int]  # lines of each


@cache
def facts(path: Path) -> Facts:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    modules = {
        name
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [*(alias.name for alias in node.names), getattr(node, "module", None) or ""]
    }
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    parts = imported_parts(path, tree) if path.is_relative_to(SRC) else set()
    return Facts(parts, modules, len(text.splitlines()), lengths)


def imported_parts(path: Path, tree: ast.AST) -> set[str]:
    """The parts of kb that a file imports: the first name after ``kb``, wherever in the file the import stands."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [f"{base}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("kb.")}


def allowed(path: Path) -> set[str]:
    name = module_name(path).removeprefix("kb").removeprefix(".")
    part = name.split(".")[0]
    if not part:
        return set()
    granted = [more for above, more in EXTRA.items() if f"{name}.".startswith(f"{above}.")]
    return BELOW.get(part, GROUND | FLOORS) | {part}.union(*granted)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_imports_only_from_the_floors_below(path: Path) -> None:
    assert facts(path).parts - allowed(path) == set()


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("moe/router.py", "from kb.serving import engine", {"serving"}),
        ("nn/attention.py", "def f():\n    from ..lm import model", {"lm"}),
        ("runtime.py", "import kb.nn.norms", {"nn"}),
        ("moe/parallel.py", "from kb import distributed, nn", set()),
        ("moe/parallel/groups.py", "from kb.distributed import lost", set()),
        ("moe/layer.py", "from kb import distributed", {"distributed"}),
        ("moe/parallels.py", "from kb import distributed", {"distributed"}),
        ("cot/answers.py", "from kb.serving.engine import Engine", set()),
        ("__init__.py", "from . import lm", {"lm"}),
    ],
)
def test_an_import_from_another_floor_is_found(name: str, source: str, wrong: set[str]) -> None:
    path = SRC / "kb" / name
    assert imported_parts(path, ast.parse(source)) - allowed(path) == wrong


def python(code: str) -> str:
    """Run code in a fresh Python that sees no CUDA device, and return what it printed."""
    line = [sys.executable, "-c", code]
    environment = {"PATH": "", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(SRC), "HOME": "/nonexistent"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_kb_is_cheap_and_imports_no_torch() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import kb; cost = time.perf_counter() - start\n"
        "print(cost, 'torch' in sys.modules or 'numpy' in sys.modules)"
    )
    runs = [python(code).split() for _ in range(3)]
    assert min(float(seconds) for seconds, _ in runs) < IMPORT_SECONDS
    assert {heavy for _, heavy in runs} == {"False"}


def test_every_module_can_be_imported_without_a_gpu_triton_or_a_network() -> None:
    names = sorted(module_name(path) for path in MODULES)
    code = (
        "import importlib, socket, sys\n"
        "def refuse(*a, **k): raise OSError('the network was asked for')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "sys.modules['triton'] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print('all')"
    )
    assert python(code) == "all"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_pickle(path: Path) -> None:
    assert not facts(path).modules & {"pickle", "cPickle", "dill", "joblib", "shelve", "cloudpickle"}


@pytest.mark.parametrize("path", [*MODULES, *MACHINERY], ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    found = facts(path)
    assert found.lines <= LONGEST_FILE
    assert {name: lines for name, lines in found.functions.items() if lines > LONGEST_FUNCTION} == {}
