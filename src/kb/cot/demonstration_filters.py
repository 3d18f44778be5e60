"""What a rationale that no human wrote must be like, so that it may stand in a prompt as an example.

Unusual: a candidate fails by name, and by all names that hold, not by the first; a cluster in which nothing passes can
then be told why, and its least bad item found.

Sources: Zhang et al. 2022, Auto-CoT, arXiv 2210.03493, section 4.2 (a question of at most 60 tokens, at most 5 steps)
and appendix C.2 (in arithmetic, an answer, and that it stands in the rationale); ``run_demo.py`` of
amazon-science/auto-cot, which counts words, the labels "Q:" and "A:" among them, and lines, 7 where last letters are
joined, wants a full stop at the end, and in arithmetic the answer in the last sentence, as part of a word if need be,
or among the last ten words. Here labels are not counted, a rationale may also end with "!", "?" or their Chinese forms,
the answer must be a word of its own, and is looked for in every task. Chinese, which has no spaces, is counted by
characters.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kb.arguments import require_count

Failure = Literal["long question", "no rationale", "many steps", "unfinished", "no answer", "answer not near the end"]
# Without these there is no example at all, however much is forgiven.
ESSENTIAL: frozenset[Failure] = frozenset({"no rationale", "no answer"})

_WORD = re.compile(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_ENDS = (".", "!", "?", "。", "！", "？")
_BEFORE_A_WORD = ",;:!?$€£¥()[]\"'*。，、；：！？"
_AFTER_A_WORD = _BEFORE_A_WORD + "."  # before a word a point is that of a fraction, as in .5


@dataclass(frozen=True)
class DemonstrationFilters:
    """Bounds on question and rationale.

    Args:
        most_question_words: Words of a question.
        most_steps: Lines of a rationale that are not blank.
        last_words: Words at the end among which the answer may stand, if not in the last sentence.

    Raises:
        ValueError: one of them is no positive integer.
    """

    most_question_words: int = 60
    most_steps: int = 5
    last_words: int = 10

    def __post_init__(self) -> None:
        for name in ("most_question_words", "most_steps", "last_words"):
            require_count(name, getattr(self, name))

    def too_long(self, question: str) -> bool:
        """Whether a question has too many words, which is known before anything is generated."""
        return count_words(question) > self.most_question_words

    def failures(
        self, question: str, rationale: str, answer: object | None, extract: Callable[[str], object | None]
    ) -> tuple[Failure, ...]:
        """All that a candidate fails, in the order of :data:`Failure`; nothing where it passes.

        Args:
            question: Its question.
            rationale: Its reasoning, as it was generated.
            answer: What was read as its answer, None where nothing was.
            extract: How an answer is read out of a text.
        """
        found: list[Failure] = ["long question"] if self.too_long(question) else []
        rationale = rationale.strip()
        if not rationale:
            found.append("no rationale")
        if sum(bool(line.strip()) for line in rationale.splitlines()) > self.most_steps:
            found.append("many steps")
        if rationale and not rationale.endswith(_ENDS):
            found.append("unfinished")
        if answer is None or not str(answer).strip():
            found.append("no answer")
        elif rationale and not self._is_near_the_end(rationale, answer, extract):
            found.append("answer not near the end")
        return tuple(found)

    def _is_near_the_end(self, rationale: str, answer: object, extract: Callable[[str], object | None]) -> bool:
        starts = [word.start() for word in _WORD.finditer(rationale)]
        tail = rationale[starts[max(len(starts) - self.last_words, 0)] :]
        sentence = [part for part in _SENTENCE_END.split(rationale) if part.strip()][-1]
        wanted = str(answer).strip().casefold()
        parts = (tail + " " + sentence).split()
        words = [word.lstrip(_BEFORE_A_WORD).rstrip(_AFTER_A_WORD).replace(",", "").casefold() for word in parts]
        return wanted in words or any(extract(part) == answer for part in (tail, sentence))


def count_words(text: str) -> int:
    """Words between spaces; of Chinese, characters."""
    return sum(1 for _ in _WORD.finditer(text))
