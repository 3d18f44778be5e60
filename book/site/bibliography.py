"""The style of the bibliography: labels are author and year, as the text cites them, and not numbers."""

from collections.abc import Iterable, Iterator
from typing import Any

from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle

NAME = "author_year_labels"


class AuthorYearLabels(BaseLabelStyle):
    """Labels such as "Ainslie et al., 2023", which sphinxcontrib-bibtex writes in the text."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """One label an entry; a letter tells those apart that would be the same."""
        entries = list(sorted_entries)
        plain = [
            f"{_authors(entry.persons.get('author', []))}, {entry.fields.get('year', 'no year')}" for entry in entries
        ]
        for place, label in enumerate(plain):
            letter = chr(ord("a") + plain[:place].count(label)) if plain.count(label) > 1 else ""
            yield label + letter


class AuthorYearStyle(PlainStyle):
    """Pybtex's plain style with these labels."""

    default_label_style = AuthorYearLabels


def _authors(people: list[Person]) -> str:
    names = [" ".join([*person.prelast_names, *person.last_names]) or str(person) for person in people]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names) or "anonymous"


def register(_app: Any, config: Any) -> None:
    """Make the style known to pybtex, and the bibliography's."""
    register_plugin("pybtex.style.formatting", NAME, AuthorYearStyle)
    config.bibtex_default_style = NAME
