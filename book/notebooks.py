"""Where the pages are, and how a notebook is read and written.

A notebook has one canonical form on disk (sorted keys, indent 1, no widget state, no time stamps), so that running a
page twice changes no byte that its outputs do not change. nbformat is imported only where a notebook is parsed: the
list of pages is also wanted on machines without Jupyter.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3", "file_extension": ".py"}


def pages(chapters: Path = CHAPTERS) -> list[Path]:
    """All notebooks under ``chapters``, sorted; checkpoints that an editor left are not pages."""
    return sorted(path for path in chapters.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def page_name(path: Path, chapters: Path = CHAPTERS) -> str:
    """The name that make targets take: ``serving/kv_cache`` for ``chapters/serving/kv_cache.ipynb``."""
    return path.resolve().relative_to(chapters.resolve()).with_suffix("").as_posix()


def find(names: Iterable[str], chapters: Path = CHAPTERS) -> list[Path]:
    """The notebooks of the named pages, all pages where no name is given.

    Raises:
        ValueError: there is no page of that name.
    """
    known = {page_name(path, chapters): path for path in pages(chapters)}
    wanted = [name.removeprefix("chapters/").removesuffix(".ipynb") for name in names]
    for name in wanted:
        if name not in known:
            listed = ", ".join(known) or "none yet"
            raise ValueError(f"page: there is no {name!r} under {chapters.name}/; the pages are: {listed}")
    return [known[name] for name in wanted] if wanted else list(known.values())


def read(path: Path) -> Any:
    """The notebook at ``path`` as an nbformat 4 ``NotebookNode``.

    Raises:
        ValueError: the file is no notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise ValueError(f"{path.name}: not a notebook: {error}") from error


def text(nb: Any) -> str:
    """The one canonical form of a notebook, which is what ``write`` puts on disk."""
    plain = json.loads(json.dumps(nb))
    plain["metadata"] = {"kernelspec": KERNELSPEC, "language_info": LANGUAGE}
    plain["nbformat"], plain["nbformat_minor"] = 4, 5
    for index, cell in enumerate(plain["cells"]):
        cell.setdefault("id", f"cell-{index:02d}")
        _clean(cell)
    return json.dumps(plain, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(path: Path, nb: Any) -> None:
    """Write the canonical form, at once or not at all."""
    partial = path.with_suffix(".ipynb.partial")
    partial.write_text(text(nb), encoding="utf-8")
    partial.replace(path)


def _clean(cell: dict[str, Any]) -> None:
    cell["source"] = _lines(cell["source"])
    for noise in ("execution", "collapsed", "scrolled", "ExecuteTime"):
        cell["metadata"].pop(noise, None)
    for output in cell.get("outputs", []):
        if "text" in output:
            output["text"] = _lines(output["text"])
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                output["data"][kind] = _lines(value)


def _lines(value: str | list[str]) -> list[str]:
    """Text as the list of its lines, as notebooks keep it, so that a diff shows the line that changed."""
    return (value if isinstance(value, str) else "".join(value)).splitlines(keepends=True)


def tags(cell: Any) -> set[str]:
    """The tags of a cell."""
    return set(cell["metadata"].get("tags", []))


def code_cells(nb: Any) -> list[Any]:
    """The code cells of a notebook, in order."""
    return [cell for cell in nb["cells"] if cell["cell_type"] == "code"]


def source(cell: Any) -> str:
    """The text of a cell, which a file may hold as a list of lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
