"""The readable text of an HTML page: blocks of text, kept where they are long enough and are not made of links.

Navigation, lists of related articles and footers are mostly links; running text is not. The share of a block's
characters that stand inside links (its link density) and its number of words separate the two well, without a model.
Unusual: nothing but the standard library's tokenizer of HTML is used, so that broken markup is read as a browser's
tokenizer would roughly read it, and no tree is built: an open block ends where another begins. ``br`` ends a line only,
or the short last line of a paragraph would be judged alone.

Source: Kohlschütter et al. 2010, Boilerplate Detection using Shallow Text Features (link density, which they
count in words, and words of a block). The thresholds are ours.
"""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

from kb.arguments import is_number, require_count

_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"}
    | {"html", "li", "main", "nav", "ol", "option", "p", "pre", "section", "summary", "table", "tbody", "td"}
    | {"tfoot", "th", "thead", "tr", "ul"}
)
_SILENT = frozenset(
    {"title", "script", "style", "template", "noscript", "svg", "math", "button", "select", "textarea", "iframe"}
)
_BOILERPLATE = frozenset(["nav", "footer", "aside", "header", "form"])
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_KEEP_LINES = frozenset({"pre"})
_BREAK = "\u2028"  # stands for br until a block is read


@dataclass(frozen=True)
class Block:
    """A piece of running text.

    Args:
        text: With single spaces, a new line for each ``br``, or as it stood inside ``pre``.
        tag: The block element it stood in, the innermost.
        words: Separated by spaces; a Chinese character counts as one.
        link_density: Share of its characters inside links, 0 to 1.
        boilerplate: Whether an element around it says so: nav, footer, aside, header, form.
    """

    text: str
    tag: str
    words: int
    link_density: float
    boilerplate: bool


def blocks(html: str) -> list[Block]:
    """All blocks of a page that hold text, in their order.

    Raises:
        TypeError: ``html`` is no string.
    """
    if not isinstance(html, str):
        raise TypeError(f"html must be a string, got {type(html).__name__}")
    parser = _Blocks()
    parser.feed(html)
    parser.close()
    parser.end_block()
    return parser.found


def extract(html: str, *, most_links: float = 0.33, least_words: int = 10) -> str:
    """The text that remains: blocks a line apart, headings only where text that is kept follows them.

    Args:
        html: The page.
        most_links: Blocks with a larger link density are dropped.
        least_words: Blocks with fewer words are dropped, but for headings and ``pre``.

    Raises:
        TypeError: ``html`` is no string.
        ValueError: a threshold is out of its range.
    """
    if not is_number(most_links) or not 0 <= most_links <= 1:
        raise ValueError(f"most_links must be a number from 0 to 1, got {most_links!r}")
    require_count("least_words", least_words, least=0)
    kept: list[str] = []
    headings: list[str] = []
    for block in blocks(html):
        if block.boilerplate or block.link_density > most_links:
            continue
        if re.fullmatch("h[1-6]", block.tag):
            headings.append(block.text)
        elif block.words >= least_words or block.tag == "pre":
            kept += [*headings[-1:], block.text]
            headings = []
    return "\n\n".join(kept)


def count_words(text: str) -> int:
    """Words separated by spaces, where each Chinese, Japanese or Korean character is a word of its own."""
    return len(
        re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+", text)
    )


class _Blocks(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Block] = []
        self._open: list[str] = []  # block elements around what is read now
        self._silent = self._boilerplate = 0
        self._in_link = False
        self._text: list[str] = []
        self._linked = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "a":  # links do not nest, and an anchor without an address is no link
            self._in_link = any(name == "href" for name, _ in attrs)
        elif tag == "br":
            self._text.append(_BREAK)
        if tag in _BLOCKS:
            self.end_block()
            if tag != "hr":
                self._open.append(tag)
                self._boilerplate += tag in _BOILERPLATE

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a":
            self._in_link = False
        if tag in _BLOCKS:
            self.end_block()
            while tag in self._open:  # elements that were never closed end with the one around them
                last = self._open.pop()
                self._boilerplate -= last in _BOILERPLATE
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._text.append(data)
            self._linked += len("".join(data.split())) if self._in_link else 0

    def end_block(self) -> None:
        raw = "".join(self._text)
        tag = self._open[-1] if self._open else "body"
        if tag in _KEEP_LINES:
            text = raw.replace(_BREAK, "\n").strip("\n").rstrip()
        else:
            text = "\n".join(filter(None, (" ".join(line.split()) for line in raw.split(_BREAK))))
        letters = len("".join(raw.split()))
        if letters:
            density = min(1.0, self._linked / letters)
            self.found.append(Block(text, tag, count_words(text), density, self._boilerplate > 0))
        self._text, self._linked = [], 0
