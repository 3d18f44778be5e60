"""Auto-CoT: demonstrations that nobody wrote, one from each cluster of questions, with the model's own reasoning.

Questions are embedded and clustered. Each cluster is walked from its centre outwards; a question's rationale is the
model's answer to "Let's think step by step", and the first that passes the filters is the cluster's demonstration.
Unusual: the walk goes on in all clusters at once, so that the model gets batches; and a cluster in which nothing
passes, which the paper's code drops silently, is reported item by item and handled as the caller says.

Sources: Zhang et al. 2022, arXiv 2210.03493, algorithms 1 and 2; Kojima et al. 2022, arXiv 2205.11916 (the two
prompts); ``run_demo.py`` of amazon-science/auto-cot.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from numpy.typing import NDArray

from kb.arguments import require_count
from kb.cot.auto_cot_reports import AutoCotError, Candidate, ClusterReport
from kb.cot.clustering import Clustering, k_means, require_embeddings
from kb.cot.demonstration_filters import DemonstrationFilters
from kb.cot.demonstrations import Demonstration
from kb.cot.language_model import LanguageModel, Sampling
from kb.cot.request_checks import require_questions, require_sampling, require_text
from kb.cot.sentence_embeddings import SentenceEmbedding

Extract = Callable[[str], object | None]


@dataclass(frozen=True)
class AutoCotConfig:
    """How demonstrations are made.

    Args:
        clusters: Demonstrations that are wanted, one a cluster.
        seed: Of the clustering, and of samples where ``temperature`` is above 0.
        filters: What a demonstration must be like.
        on_failure: Of a cluster in which nothing passes: "relax" takes the item that fails the fewest filters, the
            closest of those, among those that have a rationale and an answer; "skip" goes without; "raise" is an error.
        most_candidates: Rationales that are generated in a cluster at most; None for all of its items.
        candidates_per_round: Rationales of a cluster in one batch. More make fewer rounds, and more in vain.
        trigger: What asks for reasoning, and begins the demonstration's rationale.
        answer_trigger: What asks for the answer after it.
        max_tokens: Of a rationale.
        answer_tokens: Of the answer after it.
        stop: What ends a rationale: a model that goes on with a question of its own.
        temperature: 0 is greedy.
        chat: Whether the prompt goes through the model's chat template.

    Raises:
        TypeError: ``filters`` are something else, a trigger is no text, ``chat`` is neither true nor false.
        ValueError: a number is out of its range, or the policy is not known.
    """

    clusters: int = 8
    seed: int = 0
    filters: DemonstrationFilters = field(default_factory=DemonstrationFilters)
    on_failure: Literal["relax", "skip", "raise"] = "relax"
    most_candidates: int | None = 32
    candidates_per_round: int = 2
    trigger: str = "Let's think step by step."
    answer_trigger: str = "Therefore, the answer (arabic numerals) is"
    max_tokens: int = 256
    answer_tokens: int = 32
    stop: tuple[str, ...] = ("\nQ:",)
    temperature: float = 0.0
    chat: bool = False

    def __post_init__(self) -> None:
        for name in ("clusters", "candidates_per_round", "max_tokens", "answer_tokens"):
            require_count(name, getattr(self, name))
        require_count("seed", self.seed, least=0)
        require_text("trigger", self.trigger)
        require_text("answer_trigger", self.answer_trigger)
        require_sampling(Sampling(self.max_tokens, self.temperature, stop=self.stop, seed=self.seed))
        if not isinstance(self.chat, bool):
            raise TypeError(f"chat must be True or False, got {self.chat!r}")
        if self.most_candidates is not None:
            require_count("most_candidates", self.most_candidates)
        if not isinstance(self.filters, DemonstrationFilters):
            raise TypeError(f"filters must be DemonstrationFilters, got {type(self.filters).__name__}")
        if self.on_failure not in ("relax", "skip", "raise"):
            raise ValueError(f"on_failure must be 'relax', 'skip' or 'raise', got {self.on_failure!r}")


@dataclass(frozen=True, eq=False)
class AutoCot:
    """Demonstrations, and how they came about.

    Each rationale begins with the trigger. ``zero_shot_cot(question, made.demonstrations)`` is the prompt of the paper.

    Args:
        demonstrations: One a cluster, in the order of the clusters, less those that failed.
        indices: The questions they are of.
        clustering: Labels, distances and centres of all questions.
        reports: One a cluster.
        rationales: How many were generated.
        calls: How often the model was called, each time with a batch.
    """

    demonstrations: tuple[Demonstration, ...]
    indices: tuple[int, ...]
    clustering: Clustering
    reports: tuple[ClusterReport, ...]
    rationales: int
    calls: int

    @property
    def irregular(self) -> tuple[ClusterReport, ...]:
        """The clusters in which nothing passed all filters."""
        return tuple(report for report in self.reports if report.outcome != "passed")


def auto_cot(
    model: LanguageModel,
    questions: Sequence[str],
    embedding: SentenceEmbedding,
    *,
    extract: Extract,
    config: AutoCotConfig | None = None,
) -> AutoCot:
    """Make one demonstration from each cluster of questions.

    At most ``most_candidates`` rationales are generated in a cluster, each by two calls in a batch with those of other
    clusters. The same arguments give the same demonstrations, if model and embedding do.

    Args:
        model: Writes the rationales.
        questions: At least as many different ones as clusters.
        embedding: Says which are alike.
        extract: Reads the answer out of ``answer_trigger`` and what follows, as ``extract_number`` does; None where
            there is none.
        config: Sizes, filters, prompts.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: there are fewer different questions than clusters, one is empty, or a prompt does not fit the model.
        AutoCotError: nothing passed in a cluster, and the policy is "raise".
    """
    config = AutoCotConfig() if config is None else config
    _require_tools(model, embedding, extract, config)
    questions = require_questions(questions)
    if len(set(questions)) < config.clusters:
        raise ValueError(f"questions must hold at least {config.clusters} different ones, got {len(set(questions))}")
    rows = require_embeddings("embedding", embedding.embed(questions))
    if len(rows) != len(questions):
        raise ValueError(f"embedding must give {len(questions)} rows, one a question, got {len(rows)}")
    clustering = k_means(rows, config.clusters, seed=config.seed)
    walk = _Walk(model, questions, clustering, extract, config)
    walk.examine()
    if config.on_failure == "relax":
        walk.examine_long_ones()
    reports = walk.reports()
    failed = [report for report in reports if report.outcome == "failed"]
    if failed and config.on_failure == "raise":
        raise AutoCotError(reports)
    if failed and config.on_failure == "relax":
        warnings.warn(f"no demonstration from {len(failed)} clusters: no rationale, or no answer", stacklevel=2)
    chosen = [report.chosen for report in reports if report.chosen is not None]
    demonstrations = tuple(_demonstration(one, questions[one.index], config) for one in chosen)
    indices = tuple(one.index for one in chosen)
    return AutoCot(demonstrations, indices, clustering, tuple(reports), walk.rationales, walk.calls)


class _Walk:
    """All clusters under way, each with its next candidates."""

    def __init__(
        self,
        model: LanguageModel,
        questions: list[str],
        clustering: Clustering,
        extract: Extract,
        config: AutoCotConfig,
    ) -> None:
        self._model, self._questions, self._extract, self._config = model, questions, extract, config
        self._found = {
            index: Candidate(index, distance) for index, distance in enumerate(clustering.distances_N.tolist())
        }
        self._order: list[NDArray] = clustering.order()
        self.rationales = self.calls = 0

    def examine(self) -> None:
        """Ask round by round, until every cluster has what passes or nothing left to ask."""
        waiting: dict[int, list[int]] = {}
        for cluster, items in enumerate(self._order):
            waiting[cluster] = []
            for index in items.tolist():
                if self._config.filters.too_long(self._questions[index]):
                    self._found[index] = Candidate(
                        index, self._found[index].distance, failed=("long question",), examined=True
                    )
                else:
                    waiting[cluster].append(index)
            waiting[cluster] = waiting[cluster][: self._config.most_candidates]
        while any(waiting.values()):
            batch = []
            for indices in waiting.values():
                batch += indices[: self._config.candidates_per_round]
                del indices[: self._config.candidates_per_round]
            self._ask(batch)
            for cluster, items in enumerate(self._order):
                if any(self._found[index].passed for index in items.tolist()):
                    waiting[cluster] = []

    def examine_long_ones(self) -> None:
        """Ask the questions that were too long, as far as the bound allows, where nothing else will do."""
        batch: list[int] = []
        for items in self._order:
            members = [self._found[index] for index in items.tolist()]
            if not any(one.passed for one in members):
                long = [one.index for one in members if one.examined and one.rationale is None]
                asked = sum(one.rationale is not None for one in members)
                most = self._config.most_candidates
                batch += long if most is None else long[: max(most - asked, 0)]
        if batch:
            self._ask(batch)

    def reports(self) -> list[ClusterReport]:
        """What became of every cluster."""
        found = []
        for cluster, items in enumerate(self._order):
            members = tuple(self._found[index] for index in items.tolist())
            found.append(ClusterReport(cluster, members, self._chosen(members)))
        return found

    def _chosen(self, members: tuple[Candidate, ...]) -> Candidate | None:
        passed = next((one for one in members if one.passed), None)
        if passed is not None or self._config.on_failure != "relax":
            return passed
        return min((one for one in members if one.usable), key=lambda one: len(one.failed), default=None)

    def _ask(self, indices: list[int]) -> None:
        config = self._config
        prompts = [self._prompt(self._questions[index]) for index in indices]
        sampling = Sampling(config.max_tokens, config.temperature, stop=config.stop, seed=config.seed)
        texts = [one[0].text for one in self._model.generate(prompts, sampling)]
        again = [
            f"{prompt}{text.rstrip()}\n{config.answer_trigger}" for prompt, text in zip(prompts, texts, strict=True)
        ]
        sampling = Sampling(config.answer_tokens, config.temperature, stop=config.stop, seed=config.seed)
        # Read with the trigger before it: of "42. There were 50 apples." the first number is the answer, not the last.
        replies = [one[0].text for one in self._model.generate(again, sampling)]
        answers = [self._extract(config.answer_trigger + text) for text in replies]
        self.rationales += len(indices)
        self.calls += 2
        for index, text, answer in zip(indices, texts, answers, strict=True):
            rationale = text.strip()
            failed = config.filters.failures(self._questions[index], rationale, answer, self._extract)
            shown = None if answer is None else str(answer)
            self._found[index] = Candidate(index, self._found[index].distance, rationale, shown, failed, examined=True)

    def _prompt(self, question: str) -> str:
        if self._config.chat:
            return self._model.chat(f"{question}\n{self._config.trigger}")
        return f"Q: {question}\nA: {self._config.trigger}"


def _require_tools(model: object, embedding: object, extract: object, config: object) -> None:
    """Refuse, before anything is embedded, what could not do its part.

    Raises:
        TypeError: one of them is of another kind.
    """
    for name, tool, method in (("model", model, "generate"), ("embedding", embedding, "embed")):
        if not callable(getattr(tool, method, None)):
            raise TypeError(f"{name} must have a method {method}(), got {type(tool).__name__}")
    if not callable(extract):
        raise TypeError(f"extract must be a function of a text, got {type(extract).__name__}")
    if not isinstance(config, AutoCotConfig):
        raise TypeError(f"config must be an AutoCotConfig, got {type(config).__name__}")


def _demonstration(one: Candidate, question: str, config: AutoCotConfig) -> Demonstration:
    """The rationale in one line, with the trigger before it, once, as in the paper's prompts."""
    trigger, rationale = config.trigger.strip(), one.rationale or ""
    if trigger and rationale.startswith(trigger):  # a chat model that repeats what it was told
        rationale = rationale.removeprefix(trigger)
    rationale = " ".join(f"{trigger} {rationale}".split())
    return Demonstration(question, rationale, one.answer or "")
