"""Chain of thought: prompts that ask for reasoning, answers read out of it, demonstrations chosen, votes counted."""

from kb.cot.answers import extract_choice, extract_number, extract_text, same_answer
from kb.cot.chinese_numerals import parse_chinese
from kb.cot.intervals import Interval, PairedDifference, mcnemar, newcombe, paired_difference, wilson
from kb.cot.language_model import Completion, LanguageModel, Sampling
from kb.cot.numerals import parse_number
from kb.cot.problems import Problem, generated_problems, gsm8k
from kb.cot.prompts import (
    CHINESE,
    ENGLISH,
    Demonstration,
    Fitted,
    Prompt,
    Wording,
    direct,
    few_shot_cot,
    fit,
    wei_demonstrations,
    zero_shot_cot,
)
from kb.cot.self_consistency import (
    SelfConsistency,
    by_majority,
    by_probability,
    self_consistency,
    self_consistency_each,
)
from kb.cot.stopping import StopRule, beta_confidence, dirichlet_confidence, when_confident, when_decided
from kb.cot.votes import Vote, is_decided, majority, probability_weights, weighted
from kb.cot.zero_shot import Reasoned, zero_shot_answers

__all__ = [
    "CHINESE",
    "ENGLISH",
    "Completion",
    "Demonstration",
    "Fitted",
    "Interval",
    "LanguageModel",
    "PairedDifference",
    "Problem",
    "Prompt",
    "Reasoned",
    "Sampling",
    "SelfConsistency",
    "StopRule",
    "Vote",
    "Wording",
    "beta_confidence",
    "by_majority",
    "by_probability",
    "direct",
    "dirichlet_confidence",
    "extract_choice",
    "extract_number",
    "extract_text",
    "few_shot_cot",
    "fit",
    "generated_problems",
    "gsm8k",
    "is_decided",
    "majority",
    "mcnemar",
    "newcombe",
    "paired_difference",
    "parse_chinese",
    "parse_number",
    "probability_weights",
    "same_answer",
    "self_consistency",
    "self_consistency_each",
    "wei_demonstrations",
    "weighted",
    "when_confident",
    "when_decided",
    "wilson",
    "zero_shot_answers",
    "zero_shot_cot",
]
