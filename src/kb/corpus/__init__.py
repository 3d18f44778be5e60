"""Training data: from pages to packed rows, each step with a count of what it drops."""

from kb.corpus.byte_pairs import BytePairs, qwen_byte_pairs
from kb.corpus.decontamination import Decontaminator, Overlap, contamination_words
from kb.corpus.html_text import Block, blocks, count_words, extract
from kb.corpus.languages import NaiveBayesLanguages, guess_by_script, script_shares
from kb.corpus.minhash import MinHasher, estimated_jaccard, jaccard, shingles
from kb.corpus.mixing import capped_weights, draw_sources, epochs, temperature_weights
from kb.corpus.near_duplicates import (
    UnionFind,
    candidate_probability,
    candidates,
    exact_duplicates,
    keep_first,
    near_duplicates,
)
from kb.corpus.normalization import comparison_key, fingerprint, normalize
from kb.corpus.packing import Packed, best_fit, concatenate, pad
from kb.corpus.pii import Finding, find_pii, is_identity_number, redact
from kb.corpus.pipeline import Drop, PipelineResult, Step, StepReport, run_pipeline
from kb.corpus.quality import STOP_WORDS, GopherRules, c4_clean, gopher_failures
from kb.corpus.repetition import THRESHOLDS, repetition_failures, repetition_fractions

__all__ = [
    "STOP_WORDS",
    "THRESHOLDS",
    "Block",
    "BytePairs",
    "Decontaminator",
    "Drop",
    "Finding",
    "GopherRules",
    "MinHasher",
    "NaiveBayesLanguages",
    "Overlap",
    "Packed",
    "PipelineResult",
    "Step",
    "StepReport",
    "UnionFind",
    "best_fit",
    "blocks",
    "c4_clean",
    "candidate_probability",
    "candidates",
    "capped_weights",
    "comparison_key",
    "concatenate",
    "contamination_words",
    "count_words",
    "draw_sources",
    "epochs",
    "estimated_jaccard",
    "exact_duplicates",
    "extract",
    "find_pii",
    "fingerprint",
    "gopher_failures",
    "guess_by_script",
    "is_identity_number",
    "jaccard",
    "keep_first",
    "near_duplicates",
    "normalize",
    "pad",
    "qwen_byte_pairs",
    "redact",
    "repetition_failures",
    "repetition_fractions",
    "run_pipeline",
    "script_shares",
    "shingles",
    "temperature_weights",
]
