"""The directive ``book-status``: what the last runs recorded, page by page, and plainly what was not recorded.

It reads the records of ``make run`` and ``make gpu``, which are committed, and that of the last ``make test`` on this
machine, which is not. A record that is missing, or lacks a field, leaves a dash; nothing is computed in its place.
"""

from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from book import records
from book.notebooks import page_name, pages
from book.site.elements import element, table

_NONE = "–"


class BookStatus(SphinxDirective):
    """Tables of the pages, of what they were made with, of the tests and of the GPU."""

    def run(self) -> list[nodes.Node]:
        """Make the sections."""
        root = Path(self.env.srcdir)
        folder = root / "book" / "records"
        names = [page_name(path, root / "chapters") for path in pages(root / "chapters")]
        found = {name: self._read(records.page_record(name, folder)) for name in names}
        gpu = self._read(folder / "gpu.json")
        tests = self._read(root / "_build" / "records" / "tests.json")
        return [
            self._section("Pages", self._pages(found)),
            self._section("Made with", _made_with(found)),
            self._section("Tests", _tests(tests)),
            self._section("On a GPU", _gpu(gpu)),
        ]

    def _read(self, path: Path) -> dict[str, Any] | None:
        self.env.note_dependency(str(path))
        return records.read(path)

    def _section(self, title: str, content: list[nodes.Node]) -> nodes.section:
        name = nodes.make_id(title)
        section = nodes.section("", nodes.title("", title), *content, ids=[name], names=[name])
        self.state.document.note_implicit_target(section, section)
        return section

    def _pages(self, found: dict[str, dict[str, Any] | None]) -> list[nodes.Node]:
        rows: list[list[nodes.Node | str]] = []
        for name, record in found.items():
            link = addnodes.pending_xref(
                "",
                nodes.inline("", name),
                refdomain="std",
                reftype="doc",
                reftarget=f"/chapters/{name}",
                refexplicit=True,
                refwarn=True,
                refdoc=self.env.docname,
            )
            if record is None:
                rows.append([link, "not recorded yet", *[_NONE] * 6])
                continue
            compared = _value(record, "compared_cells")
            share = record.get("compared_share")
            rows.append(
                [
                    link,
                    _seconds(record.get("seconds")),
                    _value(record, "code_cells"),
                    f"{compared} of {_value(record, 'printing_cells')}" + (f" ({share:.0%})" if share else ""),
                    _value(record, "asserts"),
                    _value(record, "figures"),
                    _value(record, "words"),
                    _value(record, "date"),
                ]
            )
        if not rows:
            return [_sentence("There is no page yet.")]
        head = ["Page", "Run time", "Code cells", "Printing cells compared", "Asserts", "Figures", "Words", "Run on"]
        return [table("Each page, as the last make run left it", head, rows)]


def _made_with(found: dict[str, dict[str, Any] | None]) -> list[nodes.Node]:
    """Hardware and versions, pages that share them in one row."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, record in found.items():
        if record and record.get("versions"):
            versions = ", ".join(f"{library} {version}" for library, version in record["versions"].items())
            groups.setdefault((record.get("hardware", _NONE), versions), []).append(name)
    if not groups:
        return [_sentence("Not recorded yet: make run writes it.")]
    rows: list[list[nodes.Node | str]] = [[", ".join(names), *made] for made, names in groups.items()]
    return [table("Hardware and versions", ["Pages", "Hardware", "Versions"], rows)]


def _tests(record: dict[str, Any] | None) -> list[nodes.Node]:
    if record is None:
        return [_sentence("Not recorded yet in this copy: make test writes it, then build the site again.")]
    steps = record.get("steps", [])
    rows: list[list[nodes.Node | str]] = [
        [
            str(step.get("name", step.get("step", _NONE))),
            *[_value(step, key) for key in ("passed", "failed", "skipped")],
            _seconds(step.get("seconds")),
        ]
        for step in steps
    ]
    skips = [str(skip) for step in steps for skip in step.get("skips", step.get("skip_reasons", []))]
    head = ["Step", "Passed", "Failed", "Skipped", "Time"]
    date = f", {record['date']}" if record.get("date") else ""
    return [
        table(f"The last make test on the machine that built this site{date}", head, rows),
        _list("What was skipped, and why", skips) if skips else _sentence("Nothing was skipped."),
    ]


def _gpu(record: dict[str, Any] | None) -> list[nodes.Node]:
    if record is None:
        return [_sentence("Not recorded yet: make gpu writes it, on a machine that has one.")]
    rows: list[list[nodes.Node | str]] = [
        [str(page.get("page", name)), _value(page, "result"), _seconds(page.get("seconds")), _value(page, "reason")]
        for name, page in _entries(record.get("pages", {}))
    ]
    device, date = _value(record, "device"), _value(record, "date")
    return [
        _sentence(f"The last make gpu ran on {device}, {date}."),
        table("Each page's code on a GPU", ["Page", "Result", "Time", "Remark"], rows),
    ]


def _entries(pages_: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(pages_.items()) if isinstance(pages_, dict) else [("", page) for page in pages_]


def _value(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    return _NONE if value is None or value == "" else f"{value:,}" if isinstance(value, int) else str(value)


def _seconds(value: Any) -> str:
    return f"{value:.1f} s" if isinstance(value, int | float) else _NONE


def _sentence(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text)


def _list(title: str, items: list[str]) -> nodes.Node:
    return element(
        "div", element("p", title, classes="kb-list-title"), element("ul", *[element("li", item) for item in items])
    )
