"""Pieces of a word as fastText cuts and numbers them: character n-grams between < and >, hashed into buckets.

Unusual: the hash is 32-bit FNV-1a over UTF-8, with each byte taken as a signed number, as fastText has it by accident
of C++; other hashes would find other rows. Words that share a bucket share a vector, and nothing notices.

Sources: Bojanowski et al. 2017, Enriching Word Vectors with Subword Information, section 3.2; gensim 4.4.0,
``fasttext_inner.pyx``.
"""

from kb.arguments import require_count

_OFFSET, _PRIME = 2166136261, 16777619


def checked_lengths(min_n: int, max_n: int) -> None:
    """Refuse lengths of n-grams that are none.

    Raises:
        ValueError: a length is no integer of at least 1, or the shortest is above the longest.
    """
    require_count("min_n", min_n)
    require_count("max_n", max_n)
    if min_n > max_n:
        raise ValueError(f"min_n must be at most max_n, got {min_n} and {max_n}")


def ngrams(word: str, min_n: int = 3, max_n: int = 6) -> list[str]:
    """All runs of ``min_n`` to ``max_n`` characters of ``<word>``, by their beginning; < and > alone are none.

    Raises:
        ValueError: as :func:`checked_lengths`.
    """
    checked_lengths(min_n, max_n)
    padded = f"<{word}>"
    found = []
    for begin in range(len(padded)):
        for length in range(min_n, min(max_n, len(padded) - begin) + 1):
            if not (length == 1 and begin in (0, len(padded) - 1)):
                found.append(padded[begin : begin + length])
    return found


def hash_ngram(ngram: str) -> int:
    """FNV-1a of the bytes, each extended with its sign, as a number below 2^32."""
    value = _OFFSET
    for byte in ngram.encode("utf-8"):
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = value * _PRIME % 2**32
    return value


def buckets(word: str, bucket: int, min_n: int = 3, max_n: int = 6) -> list[int]:
    """The row, below ``bucket``, of each n-gram of a word.

    Raises:
        ValueError: ``bucket`` is none, or as :func:`checked_lengths`.
    """
    require_count("bucket", bucket)
    return [hash_ngram(ngram) % bucket for ngram in ngrams(word, min_n, max_n)]
