"""Real pictures with names that people gave them: OpenMoji's drawings and Unicode's names, from two pinned packages.

Unusual: the pictures are glyphs of a colour font, drawn once by FreeType and kept in the cache; a sequence of several
characters is looked up among the font's ligatures, so that no text shaping is needed.

Sources: OpenMoji 17 (CC BY-SA 4.0), by its colour font; names from the package ``emoji`` (BSD), which has Unicode's.
Shapes: N pictures, C = 3 channels, H = W = side.
"""

import io
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kb import datasets
from kb.arguments import require_count

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
_TONE = re.compile(rf" ({'|'.join(TONES)}) skin tone")
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Emojis:
    """Pictures and their names.

    Args:
        names: "woman firefighter dark skin tone", all different.
        pictures: uint8, [N, 3, side, side].
    """

    names: tuple[str, ...]
    pictures: Tensor

    def inputs(self) -> Tensor:
        """The pictures as numbers from -1 to 1, float32."""
        return self.pictures.float() / 127.5 - 1


@dataclass(frozen=True)
class Parts:
    """What a name is made of: who or what, "man", "woman" or "person", and the skin tones in order."""

    role: str
    gender: str
    tones: tuple[str, ...]


def parts(name: str) -> Parts:
    """The parts of a name; where neither man nor woman is named first, the gender is "person"."""
    tones = tuple(_TONE.findall(f" {name}"))
    rest = _TONE.sub("", f" {name}").strip()
    gender, _, role = rest.partition(" ")
    return Parts(role, gender, tones) if gender in ("man", "woman", "person") and role else Parts(rest, "person", tones)


def families(names: tuple[str, ...]) -> dict[str, dict[tuple[str, str], int]]:
    """Roles that are drawn for all genders and all tones: by role, the place of each (gender, tone), 15 of them."""
    found: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for place, name in enumerate(names):
        of = parts(name)
        if len(of.tones) == 1:
            found[of.role][of.gender, of.tones[0]] = place
    return {role: members for role, members in found.items() if len(members) == 3 * len(TONES)}


def swapped(name: str) -> str | None:
    """The same name with its two tones in the other order, None where there are not two different ones."""
    tones = parts(name).tones
    if len(tones) != 2 or tones[0] == tones[1]:
        return None
    other = iter(reversed(tones))
    return _TONE.sub(lambda _: f" {next(other)} skin tone", name)


def load(side: int = 32) -> Emojis:
    """All pictures of single emojis that are named and drawn, nearly 4,000, at ``side`` pixels on white.

    The first call of a side takes seconds; then they lie in the cache.

    Raises:
        ValueError: the side is not a positive integer.
        kb.datasets.DatasetError: a package cannot be had.
    """
    require_count("side", side)
    import PIL

    path = datasets.cache_folder() / "emojis" / f"openmoji-17.0.0-pillow-{PIL.__version__}-{side}.npz"
    with datasets.locked(path):
        if not path.exists():
            names, pictures = _draw(side)
            with datasets.disk_errors("drawing pictures", path.parent):
                with (incoming := path.with_suffix(".part")).open("wb") as stream:
                    np.savez_compressed(stream, names=np.array(names), pictures=pictures)
                incoming.replace(path)
    with np.load(path) as stored:
        pictures_NHWC = torch.from_numpy(stored["pictures"])
        return Emojis(tuple(map(str, stored["names"])), pictures_NHWC.permute(0, 3, 1, 2).contiguous())


def _draw(side: int) -> tuple[list[str], Any]:
    from fontTools.ttLib import TTFont
    from PIL import Image, ImageDraw, ImageFont

    font_file = TTFont(io.BytesIO(datasets.read("openmoji", "glyf_colr0.ttf")), lazy=True)
    glyphs = _glyphs(font_file, json.loads(datasets.read("emoji-names", "emoji/unicode_codes/emoji.json")))
    _renumber(font_file, list(glyphs.values()))
    stream = io.BytesIO()
    font_file.save(stream, reorderTables=None)
    stream.seek(0)
    large = side * _OVERSAMPLING
    font = ImageFont.truetype(stream, large, layout_engine=ImageFont.Layout.BASIC)
    pictures = np.empty((len(glyphs), side, side, 3), np.uint8)
    for place in range(len(glyphs)):
        image = Image.new("RGB", (large, large), "white")
        middle = (large // 2, large // 2)
        ImageDraw.Draw(image).text(middle, chr(_PRIVATE + place), font=font, embedded_color=True, anchor="mm")
        pictures[place] = np.asarray(image.resize((side, side), Image.Resampling.BOX))
    return list(glyphs), pictures


_PRIVATE = 0xF0000  # a plane for private use, with room for 65,534


def _glyphs(font: Any, known: dict[str, Any]) -> dict[str, str]:
    """The glyph of each emoji by name: that of its character, or the ligature of its characters."""
    characters = font.getBestCmap()
    ligatures = {
        (first, *ligature.Component): ligature.LigGlyph
        for lookup in font["GSUB"].table.LookupList.Lookup
        for table in lookup.SubTable
        for first, found in table.ligatures.items()
        for ligature in found
    }
    chosen: dict[str, str] = {}
    for text, entry in known.items():
        if entry["status"] != 2:  # 2 is fully qualified; others are other spellings of the same
            continue
        whole = tuple(characters.get(ord(one)) for one in text)
        for glyphs in (whole, tuple(glyph for glyph in whole if glyph != "uniFE0F")):
            glyph = glyphs[0] if len(glyphs) == 1 else ligatures.get(glyphs)
            if glyph is not None:
                chosen.setdefault(entry["en"].strip(":").replace("_", " ").lower(), glyph)
                break
    return chosen


def _renumber(font: Any, glyphs: list[str]) -> None:
    """Give each glyph a character of its own, so that one character draws it."""
    from fontTools.ttLib.tables._c_m_a_p import CmapSubtable

    table = CmapSubtable.newSubtable(12)
    table.platformID, table.platEncID, table.language = 3, 10, 0
    table.cmap = {_PRIVATE + place: glyph for place, glyph in enumerate(glyphs)}
    font["cmap"].tables = [table]
    del font["GSUB"]
