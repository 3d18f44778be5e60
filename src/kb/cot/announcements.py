"""Where a text announces its answer, in English and in Chinese, and the clauses of what follows.

What follows an announcement reaches to the end of its line, or is the next line where it ends its own. Unusual: it is
read clause by clause, so that "the answer is that, in all, she has 5 apples, 2 of them green" gives 5.
"""

import re
from collections import deque
from collections.abc import Iterator

_HASHES = re.compile(r"####+[ \t]*([^\n]*)")
_ANNOUNCEMENT = re.compile(
    r"\banswers?\b[*_\"'”’)]{0,3}(?:[^.\n:=0-9]{0,60}?"
    r"(?:\b(?:is|are|was|(?<!not )(?<!n['’]t )be|equals)\b(?!\s+not\b)|[:=])|\s*\*\*)"
    r"|\bans\s?[.:=]|<answer>"
    r"|答案[^。\n：:=0-9]{0,20}?(?:是|为|為|等于|等於|[:：=])"
    r"|(?:^|(?<=\W))答\s?[:：]"
    r"|(?:故选|故選|应选|應選|选择|選擇|(?<=[，。,\s因所])选|(?<=[，。,\s因所])選)\s?[:：]?(?=\s?[(（]?[A-ZＡ-Ｚ])",
    re.IGNORECASE,
)
_LINE = re.compile(r"\s*([^\n]{0,5000})")
_MOST_ANNOUNCEMENTS = 100
_LEADING = " \t:：=*_\"'”’>"
_CLAUSE_END = re.compile(
    r"[.!?](?=\s|$|\*)|[。！？；;\n]|,(?=\s)|[，、]|\s[(（]|(?<=[^\s(（])[（]"
    r"|\b(?:because|since|which|where|given that|so that)\b|因为|因為"
)


def after_hashes(text: str) -> str | None:
    """What stands on the line behind the last ####, or on the next one where that is empty; None without one."""
    found = None
    for found in _HASHES.finditer(text):  # noqa: B007 - the last one is wanted
        pass
    if found is None:
        return None
    return found[1] if found[1].strip() else _next_line(text, found.end())


def announced(text: str) -> Iterator[str]:
    """What follows each announcement up to the next or the end of its line, the last one first, a hundred at most."""
    end = len(text)
    for found in reversed(deque(_ANNOUNCEMENT.finditer(text), maxlen=_MOST_ANNOUNCEMENTS)):
        line_end = text.find("\n", found.end(), end)
        place = text[found.end() : line_end if line_end >= 0 else end].strip(_LEADING)
        if not place and line_end >= 0:
            place = _next_line(text, line_end)
        end = found.start()
        if place:
            yield place


def clauses(text: str) -> Iterator[str]:
    """The clauses of a place, in order."""
    for part in _CLAUSE_END.split(text):
        if part and part.strip():
            yield part.strip()


def _next_line(text: str, start: int) -> str:
    """The first line after ``start`` that is not empty, its first 5,000 characters."""
    rest = _LINE.match(text, start)
    return rest[1].strip(_LEADING) if rest else ""
