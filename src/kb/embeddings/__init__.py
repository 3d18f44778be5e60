"""Classic word vectors: counts and their factorisation, word2vec, GloVe, fastText, and how they are judged.

Each trained model has the interface of gensim's: made from sentences, with its vectors under ``wv``.
"""

from kb.embeddings.bias import Association, associations, weat
from kb.embeddings.cooccurrence import count_pairs, count_pairs_loop
from kb.embeddings.corpora import Analogy, WordPair, analogies, tokens, wikipedia_summaries, word_pairs, wordnet_glosses
from kb.embeddings.factorization import expected_loss, optimal_scores
from kb.embeddings.fasttext import FastText, FastTextKeyedVectors
from kb.embeddings.glove import GloVe, GloveState, glove_loss, weighting
from kb.embeddings.huffman import HuffmanCode, huffman_code, tree_probabilities
from kb.embeddings.judging import (
    PairAgreement,
    agreement_difference,
    answer_analogies,
    similarities,
    spearman,
    word_pair_agreement,
)
from kb.embeddings.keyed_vectors import KeyedVectors
from kb.embeddings.ppmi import PPMI, pmi, pmi_loop, svd_vectors
from kb.embeddings.subwords import buckets, hash_ngram, ngrams
from kb.embeddings.svd import truncated_svd
from kb.embeddings.vocabulary import (
    AliasTable,
    Vocabulary,
    build_vocabulary,
    keep_probabilities,
    noise_table,
)
from kb.embeddings.word2vec import Word2Vec

__all__ = [
    "PPMI",
    "AliasTable",
    "Analogy",
    "Association",
    "FastText",
    "FastTextKeyedVectors",
    "GloVe",
    "GloveState",
    "HuffmanCode",
    "KeyedVectors",
    "PairAgreement",
    "Vocabulary",
    "Word2Vec",
    "WordPair",
    "agreement_difference",
    "analogies",
    "answer_analogies",
    "associations",
    "buckets",
    "build_vocabulary",
    "count_pairs",
    "count_pairs_loop",
    "expected_loss",
    "glove_loss",
    "hash_ngram",
    "huffman_code",
    "keep_probabilities",
    "ngrams",
    "noise_table",
    "optimal_scores",
    "pmi",
    "pmi_loop",
    "similarities",
    "spearman",
    "svd_vectors",
    "tokens",
    "tree_probabilities",
    "truncated_svd",
    "weat",
    "weighting",
    "wikipedia_summaries",
    "word_pair_agreement",
    "word_pairs",
    "wordnet_glosses",
]
