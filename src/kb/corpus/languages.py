"""Which language a text is in: by its scripts, which settles Chinese, and by a naive Bayes over character n-grams.

Unusual: the naive Bayes can say that it does not know, by a margin per character. It knows the languages that it was
fitted on and nothing else; a text in a third language gets one of these labels, which is the trap of closed sets.

Source: Cavnar and Trenkle 1994, N-Gram-Based Text Categorization; Manning et al. 2008, Introduction to Information
Retrieval, section 13.2 (multinomial naive Bayes, add-one smoothing).
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from kb.arguments import require_count

_RANGES = {
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    "kana": ((0x3040, 0x30FF),),
    "hangul": ((0x1100, 0x11FF), (0xAC00, 0xD7AF)),
    "cyrillic": ((0x0400, 0x052F),),
    "arabic": ((0x0600, 0x06FF), (0x0750, 0x077F)),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F)),
}


def script_shares(text: str) -> dict[str, float]:
    """Shares of the letters of a text by script, those of no script known here under "other"; empty without letters.

    Raises:
        TypeError: ``text`` is no string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    letters = [character for character in text if unicodedata.category(character).startswith("L")]
    counts = Counter(_script(ord(letter)) for letter in letters)
    return {script: count / len(letters) for script, count in counts.most_common()}


def guess_by_script(text: str, *, least: float = 0.5) -> str:
    """A language or at least a script: "zh" for Han without kana, "ja", "ko", "latin", "cyrillic", "arabic", "unknown".

    Args:
        text: Any text.
        least: Share of the letters that the script must have. Kana decides for Japanese from a twentieth on.

    Raises:
        TypeError: ``text`` is no string.
    """
    shares = script_shares(text)
    if shares.get("kana", 0) >= 0.05:
        return "ja"
    for script, name in (("han", "zh"), ("hangul", "ko"), ("latin", "latin"), ("cyrillic", "cyrillic")):
        if shares.get(script, 0) >= least:
            return name
    return "arabic" if shares.get("arabic", 0) >= least else "unknown"


class NaiveBayesLanguages:
    """Multinomial naive Bayes over character n-grams, with add-one smoothing and equal priors.

    Args:
        samples: A text, or several, for each language.
        n: Length of the n-grams.

    Raises:
        ValueError: fewer than two languages, or one without an n-gram.
    """

    def __init__(self, samples: Mapping[str, str | Sequence[str]], *, n: int = 3) -> None:
        require_count("n", n)
        if len(samples) < 2:
            raise ValueError(f"samples must hold at least two languages, got {list(samples)}")
        self._n = n
        counts: dict[str, Counter[str]] = {}
        for name, texts in samples.items():
            pieces = [texts] if isinstance(texts, str) else texts
            counts[name] = Counter(gram for text in pieces for gram in self._grams(text))
            if not counts[name]:
                raise ValueError(f"samples[{name!r}] holds no {n}-gram")
        self._grams_known = set().union(*counts.values())
        self._log_p = {
            name: {gram: math.log(count + 1) for gram, count in found.items()} for name, found in counts.items()
        }
        self._log_total = {name: math.log(found.total() + len(self._grams_known)) for name, found in counts.items()}

    def log_likelihoods(self, text: str) -> dict[str, float]:
        """Ln p(text | language) of each, over the n-grams that some language has."""
        grams = [gram for gram in self._grams(text) if gram in self._grams_known]
        return {
            name: math.fsum(known.get(gram, 0.0) for gram in grams) - len(grams) * self._log_total[name]
            for name, known in self._log_p.items()
        }

    def predict(self, text: str, *, margin: float = 0.0) -> str:
        """The most likely language, or "unknown" where it leads by less than ``margin`` nats a character."""
        found = sorted(self.log_likelihoods(text).items(), key=lambda one: -one[1])
        lead = (found[0][1] - found[1][1]) / max(1, len(text))
        return found[0][0] if lead > 0 and lead >= margin else "unknown"

    def _grams(self, text: str) -> list[str]:
        text = f" {' '.join(text.lower().split())} "
        return [text[start : start + self._n] for start in range(len(text) - self._n + 1)]


def _script(code: int) -> str:
    return next((name for name, spans in _RANGES.items() if any(a <= code <= b for a, b in spans)), "other")
