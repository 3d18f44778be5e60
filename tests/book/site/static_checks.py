"""Checks that read the built pages and need no browser: links, anchors, images, addresses of other hosts.

Each takes the folder of a site and returns what is wrong as sentences, so that the same check runs on the real site and
on a small one that is broken on purpose.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest", "preconnect", "dns-prefetch"}
LEAST_ALT = 10  # characters; less describes no figure


@dataclass
class Document(HTMLParser):
    """What the checks need to know of one HTML file."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.inside_article = 0
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        self.inside_article += tag == "article"
        href = found.get("href")
        if tag == "a" and href is not None:
            self.links.append(href)
        if tag == "link" and href and LOADED_LINKS & set((found.get("rel") or "").split()):
            self.loads.append(href)
        if tag in LOADS and (source := found.get(LOADS[tag])):
            self.loads.append(source)
        if tag == "img":
            self.images.append(found | {"in article": "yes" if self.inside_article else None})

    def handle_endtag(self, tag: str) -> None:
        self.inside_article -= tag == "article"


def documents(site: Path) -> dict[Path, Document]:
    """Every HTML file of the site by its path, read once; what packages bring along under _static is not ours."""
    files = (path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts)
    return {path.resolve(): Document(path) for path in files}


def broken_links(site: Path) -> list[str]:
    """Links and loaded files that lead nowhere, in file or in anchor; those of other hosts need only be well-formed."""
    known = documents(site)
    problems = []
    for document in known.values():
        where = document.path.relative_to(site)
        for href in dict.fromkeys([*document.links, *document.loads]):
            reason = _broken(href, document, known, site.resolve())
            if reason:
                problems.append(f"{where}: {href!r} {reason}")
    return problems


def _broken(href: str, document: Document, known: dict[Path, Document], site: Path) -> str:
    parts = urlsplit(href)
    if parts.scheme in ("mailto", "data"):
        return ""
    if parts.scheme or parts.netloc:
        well_formed = parts.scheme in ("http", "https") and "." in parts.netloc and " " not in href
        return "" if well_formed else "is no web address"
    target = document.path.resolve()
    if parts.path:
        start = site if parts.path.startswith("/") else target.parent
        target = (start / unquote(parts.path).lstrip("/")).resolve()
        target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "leads to no file"
    if not target.is_relative_to(site):
        return "leads out of the site"
    fragment = unquote(parts.fragment)
    if fragment and target in known and fragment not in known[target].anchors:
        return "leads to no anchor"
    return ""


def remote_loads(site: Path) -> list[str]:
    """Scripts, styles, images and frames that a page would load from another host."""
    return [
        f"{document.path.relative_to(site)}: loads {address}"
        for document in documents(site).values()
        for address in document.loads
        if urlsplit(address).netloc
    ]


def images_without_alt(site: Path) -> list[str]:
    """Images without an alt attribute, and images of the text whose alt says nothing."""
    problems = []
    for document in documents(site).values():
        for image in document.images:
            alt, source = image.get("alt"), image.get("src") or "?"
            where = f"{document.path.relative_to(site)}: {source[:60]}"
            if alt is None:
                problems.append(f"{where} has no alt attribute")
            elif image["in article"] and (len(alt) < LEAST_ALT or alt == source):
                problems.append(f"{where} has the alt text {alt!r}, which describes nothing")
    return problems
