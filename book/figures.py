"""Makes the PNG figures of a page small: few colours chosen for the figure, no metadata, the same bytes every time.

A plot has few colours and their mixtures along the edges of lines and letters, so that a palette of 64 cannot be told
from the original by eye, at a fifth of its size. A figure with many shades, such as an attention map, gets 256.
"""

import io

import numpy as np
from PIL import Image

PALETTES = (64, 256)
LARGEST_DIFFERENCE = 0.5  # of 255, the mean over the pixels of a figure, each by its worst channel


def compress(png: bytes) -> bytes:
    """The figure with the smallest palette that shows it well, or the original where that is smaller."""
    image = Image.open(io.BytesIO(png))
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.convert("RGBA").getchannel("A"))
    for colours in PALETTES:
        reduced = _reduced(flat, colours)
        if _difference(flat, reduced) <= LARGEST_DIFFERENCE:
            break
    out = io.BytesIO()
    reduced.save(out, format="PNG", optimize=True)
    return out.getvalue() if out.tell() < len(png) else png


def _reduced(image: Image.Image, colours: int) -> Image.Image:
    """The image with a palette of its own; its ground stays to the letter, as it must match the other figures."""
    reduced = image.quantize(colors=colours, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    palette = np.array(reduced.getpalette()).reshape(-1, 3)
    palette[np.asarray(reduced)[0, 0]] = np.asarray(image)[0, 0]
    reduced.putpalette(palette.ravel().tolist())
    return reduced


def _difference(one: Image.Image, other: Image.Image) -> float:
    """The mean over the pixels of the largest difference in a channel, of 255."""
    first, second = (np.asarray(image.convert("RGB"), int) for image in (one, other))
    return float(np.abs(first - second).max(-1).mean())
