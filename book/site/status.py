"""The directive ``book-status``: what the last runs recorded, page by page, and plainly what was not recorded.

It reads the records of ``make run``, ``make gpu`` and ``make bench``, which are committed, and that of the last
``make test`` on this machine, which is not. A record that is missing, or lacks a field, leaves a dash; nothing is
computed in its place.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.util.docutils import SphinxDirective

from benchmarks.measurement_record import MEASUREMENT
from book import records
from book.notebooks import page_name, pages
from book.site.elements import date, doc_link, element, table

Record = dict[str, Any]

_NONE = "–"
_COUNTS = ("passed", "failed", "skipped")


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
        results = root / "benchmarks" / "results"
        measured = MEASUREMENT.read_all(results)
        for name in measured:
            self.env.note_dependency(str(results / f"{name}.json"))
        return [
            self._section("Pages", self._pages(found, (tests or {}).get("pages", {}))),
            self._section("Made with", _made_with(found)),
            self._section("Tests", _tests(tests)),
            self._section("On a GPU", _gpu(gpu)),
            self._section("Measurements", _measurements(list(measured.values()))),
        ]

    def _read(self, path: Path) -> Record | None:
        self.env.note_dependency(str(path))
        return records.read(path)

    def _section(self, title: str, content: list[nodes.Node]) -> nodes.section:
        name = nodes.make_id(title)
        section = nodes.section("", nodes.title("", title), *content, ids=[name], names=[name])
        self.state.document.note_implicit_target(section, section)
        return section

    def _pages(self, found: dict[str, Record | None], tested: dict[str, Record]) -> list[nodes.Node]:
        rows: list[list[nodes.Node | str]] = []
        for name, record in found.items():
            link = doc_link(self.env, f"/chapters/{name}", name)
            if record is None:
                rows.append([link, "not recorded yet", *[_NONE] * 6])
                continue
            share = record.get("compared_share")
            compared = f"{_value(record, 'compared_cells')} of {_value(record, 'printing_cells')}"
            rows.append(
                [
                    link,
                    _seconds(record.get("seconds")),
                    _value(record, "code_cells"),
                    compared if share is None else f"{compared} ({share:.0%})",
                    _value(record, "ignored_cells"),
                    _value(record, "asserts"),
                    _value(tested.get(name, {}), "skipped"),
                    date(_value(record, "date")),
                ]
            )
        if not rows:
            return [_sentence("There is no page yet.")]
        head = ["Page", "Run time", "Code cells", "Compared", "Varying", "Asserts", "Skipped", "Run on"]
        return [table("Each page, as the last make run left it", head, rows, label="Pages")]


def _made_with(found: dict[str, Record | None]) -> list[nodes.Node]:
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


def _tests(record: Record | None) -> list[nodes.Node]:
    if record is None:
        return [_sentence("Not recorded yet in this copy: make test writes it, then build the site again.")]
    rows: list[list[nodes.Node | str]] = [
        [_value(step, "name"), *(_value(step, key) for key in _COUNTS), _seconds(step.get("seconds"))]
        for step in record.get("steps", [])
    ]
    rows.append(["All together", *(_value(record, key) for key in _COUNTS), _seconds(record.get("seconds"))])
    head = ["Step", "Passed", "Failed", "Skipped", "Time"]
    caption = f"The last make test on the machine that built this site: {_value(record, 'date')}"
    return [table(caption, head, rows, label="Tests"), *_skips(record.get("skips", []))]


def _gpu(record: Record | None) -> list[nodes.Node]:
    if record is None:
        return [_sentence("Not recorded yet: make gpu writes it, on a machine that has one.")]
    content = [_sentence(f"The last make gpu ran on {_value(record, 'device')}, {_value(record, 'date')}.")]
    tests = record.get("tests")
    if tests:
        counts = ", ".join(f"{_value(tests, key)} {key}" for key in _COUNTS)
        content.append(_sentence(f"Tests that need a GPU: {counts}, in {_seconds(tests.get('seconds'))}."))
        content += _skips(tests.get("skips", []))
    rows: list[list[nodes.Node | str]] = [
        [
            name,
            _value(page, "result"),
            _seconds(page.get("seconds")),
            date(_value(page, "date")),
            _value(page, "reason"),
        ]
        for name, page in record.get("pages", {}).items()
    ]
    if rows:
        content.append(table("Each page's code, run on the GPU", ["Page", "Result", "Time", "Date", "Remark"], rows))
    return content


def _measurements(found: list[Record]) -> list[nodes.Node]:
    if not found:
        return [_sentence("Not recorded yet: make bench writes them.")]
    rows: list[list[nodes.Node | str]] = [
        [record["title"], record["method"], _numbers(record), record["hardware"], date(record["date"])]
        for record in found
    ]
    head = ["Measured", "How", "Medians", "Hardware", "Date"]
    return [table("What make bench measured, apart from the races", head, rows, label="Measurements")]


def _numbers(record: Record) -> str:
    """Median of each quantity with its unit and its number of samples, and each ratio."""
    found = [
        f"{name} {record['medians'][name]:.3g} {series['unit']} ({len(series['values'])} samples)"
        for name, series in record["samples"].items()
    ]
    return "; ".join([*found, *(f"{name} {value:.3g}" for name, value in record["median_ratios"].items())]) or _NONE


def _skips(skips: list[Record]) -> list[nodes.Node]:
    """Every reason for which something was skipped, and how often."""
    if not skips:
        return [_sentence("Nothing was skipped.")]
    reasons = Counter(skip["reason"] for skip in skips)
    items = [element("li", f"{count} × {reason}") for reason, count in reasons.items()]
    return [_sentence("Skipped, and why:"), element("ul", *items)]


def _value(record: Record, key: str) -> str:
    value = record.get(key)
    return _NONE if value is None or value == "" else f"{value:,}" if isinstance(value, int) else str(value)


def _seconds(value: Any) -> str:
    return f"{value:.1f} s" if isinstance(value, int | float) else _NONE


def _sentence(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text)
