"""What the home page shows that is counted and not written: the chapters, the races, and the picture of the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.util.docutils import SphinxDirective

from benchmarks.race_record import RACE, per_second, shown
from book.notebooks import pages
from book.site.elements import date, doc_link, element, raw, table


@dataclass(frozen=True)
class Chapter:
    """A chapter: its folder, its title, what it builds, and what it is raced against."""

    folder: str
    title: str
    text: str
    rival: str


CHAPTERS = (
    Chapter(
        "serving",
        "Serving language models",
        "The KV cache, paged blocks, prefix caching, continuous batching: from one model that decodes to an engine "
        "that serves many.",
        "vLLM and transformers",
    ),
    Chapter(
        "gbdt",
        "Gradient-boosted trees",
        "Binning, histograms, split finding, leaf-wise growth: boosting as a row of small files, one stage each.",
        "LightGBM and scikit-learn",
    ),
    Chapter(
        "moe",
        "Mixture of experts",
        "Routing, load balancing, dispatch, expert parallelism; and why a recommender's experts are something else.",
        "transformers",
    ),
    Chapter(
        "autograd",
        "Autograd from NumPy",
        "A tensor, a table of rules and one walk over the graph: what a framework does when you call backward.",
        "torch",
    ),
    Chapter(
        "cot",
        "Chain of thought",
        "Step-by-step prompts, Auto-CoT, self-consistency: when they help, and how to tell that they did.",
        "published prompts and results",
    ),
    Chapter(
        "interview",
        "The interview",
        "Questions that were really asked, each with an answer of thirty seconds and a page that shows it is right.",
        "the follow-up question",
    ),
)


class ChapterCards(SphinxDirective):
    """A card for each chapter, with the number of its notebooks."""

    def run(self) -> list[nodes.Node]:
        """Make the cards."""
        return [element("ul", *[self._card(chapter) for chapter in CHAPTERS], classes="kb-cards", role="list")]

    def _card(self, chapter: Chapter) -> nodes.Node:
        folder = Path(self.env.srcdir) / "chapters" / chapter.folder
        count = len(pages(folder))
        title = doc_link(self.env, f"/chapters/{chapter.folder}/index", chapter.title)
        return element(
            "li",
            element("p", title, classes="kb-card-title"),
            element("p", chapter.text),
            element("p", f"Held against {chapter.rival}", classes="kb-rival"),
            element("p", f"{count} notebook{'' if count == 1 else 's'}", classes="kb-card-count"),
            classes="kb-card",
        )


class Races(SphinxDirective):
    """The results under benchmarks/results, one row a race, or a sentence that there is none yet."""

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        folder = Path(self.env.srcdir) / "benchmarks" / "results"
        found = RACE.read_all(folder)
        for name in found:
            self.env.note_dependency(str(folder / f"{name}.json"))
        if not found:
            return [
                nodes.paragraph("", "No race has been recorded yet. The first ones will appear here as they are run.")
            ]
        head = ["Race", "Contender", "Against", "Ratio of times", "Hardware", "Date"]
        caption = (
            "Races as recorded, kb against a library or against kb itself in another setting: median times, and the "
            "median of the ratios of all pairs (under 1 where the contender is faster), which is not the ratio of the "
            "medians"
        )
        return [table(caption, head, [_race(race) for race in found.values()])]


def _race(race: dict[str, Any]) -> list[nodes.Node | str]:
    return [
        race["title"],
        _side(race, "ours"),
        _side(race, "theirs"),
        f"{shown(race)}, median of {len(race['ours_seconds'])} pairs",
        race["hardware"],
        date(race["date"]),
    ]


def _side(race: dict[str, Any], side: str) -> str:
    """A contender, its time per unit and its pace: "kb.lm.generate, 38.9 ms per token (25.7 tokens/s)"."""
    unit, milliseconds = race["unit"], race[f"{side}_ms_per_unit"]
    return f"{race[side]}, {milliseconds:#.3g} ms per {unit} ({per_second(race, side):.3g} {unit}s/s)"


class CachePicture(SphinxDirective):
    """Which keys and values are computed while six tokens are decoded, without a cache and with one."""

    def run(self) -> list[nodes.Node]:
        """Draw both triangles, with their counts."""
        steps = 6
        without, cached = steps * (steps + 1) // 2, steps
        picture = (
            '<svg viewBox="0 0 412 224" role="img" aria-labelledby="cache-picture-title" class="kb-picture">'
            f'<title id="cache-picture-title">Keys and values computed in {steps} decoding steps: {without} without '
            f"a cache, {cached} with one; the other {without - cached} are read from memory.</title>"
            + _triangle(0, steps, "Without a cache", f"{without} computed", cache=False)
            + _triangle(240, steps, "With a cache", f"{cached} computed, {without - cached} read", cache=True)
            + "</svg>"
        )
        caption = element(
            "figcaption",
            f"{steps} decoding steps, one a row. Filled: a key and a value computed in that step. Outlined: read from "
            "the cache.",
        )
        return [element("figure", raw(picture), caption, classes="kb-hero-figure")]


def _triangle(left: int, steps: int, title: str, count: str, *, cache: bool) -> str:
    """One triangle of cells as SVG: row is the step, column the position whose key and value are needed."""
    cells = []
    for step in range(steps):
        for position in range(step + 1):
            kind = "read" if cache and position < step else "made"
            x, y = left + 2 + position * 27, 34 + step * 27
            cells.append(f'<rect class="{kind}" x="{x}" y="{y}" width="22" height="22" rx="4"/>')
    return (
        f'<text x="{left}" y="16" class="title">{title}</text>'
        + "".join(cells)
        + f'<text x="{left}" y="216" class="count">{count}</text>'
    )
