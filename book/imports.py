"""Which files of the package kb a page depends on, found without running anything.

A page is run again when its code or one of these files changed. Imports inside functions count as well; what a module
reads at run time from the package's own folder (``*.toml``) is taken as imported with the package.
"""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from book import notebooks

PACKAGE = "kb"


def closure(sources: Iterable[str], src: Path = notebooks.ROOT / "src") -> list[Path]:
    """The files of ``kb`` that the sources import, and that those import, and so on; sorted.

    Args:
        sources: Python code, as in the cells of a page; what does not parse imports nothing.
        src: The folder that holds ``kb``.
    """
    waiting = [name for source in sources for name in _ours(imported(source))]
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = _file(name, src)
        if name in found or path is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _ours(imported(path.read_text(encoding="utf-8"), package))
    files = set(found.values())
    return sorted(files | {data for path in files if path.name == "__init__.py" for data in path.parent.glob("*.toml")})


def fingerprint(sources: Iterable[str], src: Path = notebooks.ROOT / "src") -> str:
    """A hash of the code cells of a page and of all files that they import."""
    sources = list(sources)
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.encode() + b"\0")
    for path in closure(sources, src):
        digest.update(path.relative_to(src).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def imported(source: str, package: str = "") -> set[str]:
    """The modules that a source may import: ``from kb.lm import x`` means kb.lm, and may mean kb.lm.x.

    Args:
        source: Python; of one that cannot be parsed, nothing is found.
        package: What relative imports of the source start from.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def _ours(names: Iterable[str]) -> list[str]:
    """Of these modules those of ``kb``, with the packages that they are in."""
    parts = [name.split(".") for name in names if name.split(".")[0] == PACKAGE]
    return sorted({".".join(part[:length]) for part in parts for length in range(1, len(part) + 1)})


def _file(name: str, src: Path) -> Path | None:
    stem = src.joinpath(*name.split("."))
    return next((path for path in (stem / "__init__.py", stem.with_suffix(".py")) if path.exists()), None)
