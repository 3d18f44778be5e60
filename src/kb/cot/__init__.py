"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.answers import extract_choice, extract_number, extract_text, same_answer
from kb.cot.auto_cot import AutoCot, AutoCotConfig, auto_cot
from kb.cot.auto_cot_reports import AutoCotError, Candidate, ClusterReport
from kb.cot.chinese_numerals import parse_chinese
from kb.cot.clustering import Clustering, k_means
from kb.cot.coverage import Coverage, distance_to_nearest, measure_coverage, measure_coverage_loop
from kb.cot.demonstration_filters import DemonstrationFilters
from kb.cot.demonstrations import Demonstration
from kb.cot.endpoint_model import EndpointModel
from kb.cot.engine_model import EngineModel
from kb.cot.json_requests import EndpointError, RetryPolicy
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.least_to_most import LeastToMost, LeastToMostConfig, Step, least_to_most
from kb.cot.numerals import parse_number
from kb.cot.problems import Problem, generated_problems, gsm8k
from kb.cot.prompts import (
    CHINESE,
    ENGLISH,
    Fitted,
    Prompt,
    Wording,
    direct,
    few_shot_cot,
    fit,
    wei_demonstrations,
    zero_shot_cot,
)
from kb.cot.reranking import LogisticVerifier, Reranked, Verifier, rerank, solution_features
from kb.cot.selection import select_k_center, select_k_means, select_mmr, select_nearest, select_random
from kb.cot.self_consistency import (
    SelfConsistency,
    by_majority,
    by_probability,
    self_consistency,
    self_consistency_each,
)
from kb.cot.sentence_embeddings import MiniLM, SentenceEmbedding, Tfidf
from kb.cot.stopping import StopRule, beta_confidence, dirichlet_confidence, when_confident, when_decided
from kb.cot.transformers_model import TransformersModel
from kb.cot.votes import Vote, is_decided, majority, probability_weights, weighted
from kb.cot.zero_shot import Reasoned, zero_shot_answers
from kb.intervals import Interval, PairedDifference, mcnemar, newcombe, paired_difference, wilson

__all__ = [
    "CHINESE",
    "ENGLISH",
    "AutoCot",
    "AutoCotConfig",
    "AutoCotError",
    "Candidate",
    "ClusterReport",
    "Clustering",
    "Completion",
    "Coverage",
    "Demonstration",
    "DemonstrationFilters",
    "EndpointError",
    "EndpointModel",
    "EngineModel",
    "Fitted",
    "Interval",
    "LanguageModel",
    "LeastToMost",
    "LeastToMostConfig",
    "LogisticVerifier",
    "MiniLM",
    "PairedDifference",
    "Problem",
    "Prompt",
    "Reasoned",
    "Reranked",
    "RetryPolicy",
    "Sampling",
    "SelfConsistency",
    "SentenceEmbedding",
    "Step",
    "StopRule",
    "Tfidf",
    "TransformersModel",
    "Verifier",
    "Vote",
    "Wording",
    "auto_cot",
    "beta_confidence",
    "by_majority",
    "by_probability",
    "direct",
    "dirichlet_confidence",
    "distance_to_nearest",
    "extract_choice",
    "extract_number",
    "extract_text",
    "few_shot_cot",
    "fit",
    "generated_problems",
    "gsm8k",
    "is_decided",
    "k_means",
    "least_to_most",
    "majority",
    "mcnemar",
    "measure_coverage",
    "measure_coverage_loop",
    "newcombe",
    "paired_difference",
    "parse_chinese",
    "parse_number",
    "probability_weights",
    "rerank",
    "same_answer",
    "select_k_center",
    "select_k_means",
    "select_mmr",
    "select_nearest",
    "select_random",
    "self_consistency",
    "self_consistency_each",
    "solution_features",
    "wei_demonstrations",
    "weighted",
    "when_confident",
    "when_decided",
    "wilson",
    "zero_shot_answers",
    "zero_shot_cot",
]
