"""The prefix cache alone: what is found, collisions that find nothing, digests, and that it forgets what it should."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.serving.block_pool import BlockPool
from kb.serving.prefix_cache import PrefixCache

MODULUS = 2**61 - 1  # Python's ints hash modulo this prime
CHAINS = st.tuples(st.sampled_from([None, "a", "b"]), st.lists(st.integers(0, 11), max_size=6).map(tuple))


def cache_of(*tokens: int, block_size: int = 2, num_blocks: int = 8, salt: str | None = None) -> PrefixCache:
    """A cache whose first blocks are free and hold ``tokens``."""
    pool = BlockPool(num_blocks)
    cache = PrefixCache(pool, block_size)
    blocks = pool.take(len(tokens) // block_size)
    if blocks:
        cache.insert(tokens, blocks, 0, len(blocks), salt=salt)
    for block in reversed(blocks):
        pool.release(block)
    return cache


def found(cache: PrefixCache, *tokens: int, salt: str | None = None) -> list[int]:
    return cache.match(tokens, len(tokens) // cache.block_size, salt)[0]


def test_finds_the_longest_chain_of_full_blocks() -> None:
    cache = cache_of(1, 2, 3, 4, 5, 6)
    assert found(cache, 1, 2, 3, 4, 5, 6, 7) == [0, 1, 2]
    assert found(cache, 1, 2, 3, 4, 5) == [0, 1]
    assert found(cache, 1, 2, 9, 4, 5, 6) == [0]
    assert found(cache, 3, 4, 5, 6) == []
    assert found(cache, 1) == []


def test_a_child_is_found_only_through_its_parents() -> None:
    cache = cache_of(1, 2, 3, 4)
    cache.remove(0)
    assert found(cache, 1, 2, 3, 4) == []
    assert (0 in cache, 1 in cache) == (False, True)
    cache.insert((1, 2), [5], 0, 1)
    assert found(cache, 1, 2, 3, 4) == [5, 1]


def test_of_copies_the_first_is_found_then_the_next() -> None:
    cache = cache_of(1, 2)
    for block in (4, 3):
        cache.insert((1, 2), [block], 0, 1)
    assert len(cache) == 3
    assert cache.num_nodes == 2
    for block in (0, 4, 3):
        assert found(cache, 1, 2) == [block]
        cache.remove(block)
    assert (len(cache), cache.num_nodes) == (0, 0)


class Colliding(int):
    """A token that hashes as all others do."""

    def __hash__(self) -> int:
        return 7


class CollidingSalt(str):
    """A salt that hashes as all others do."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("kept", "asked"),
    [
        ((5, 6), (5 + MODULUS, 6)),
        ((0, 0), (MODULUS, MODULUS)),
        ((-1, 3), (-2, 3)),
        ((Colliding(1), Colliding(2)), (Colliding(2), Colliding(1))),
    ],
)
def test_equal_hashes_find_nothing(kept: tuple[int, ...], asked: tuple[int, ...]) -> None:
    assert hash(kept) == hash(asked)
    cache = cache_of(*kept, 8, 9)
    assert found(cache, *asked, 8, 9) == []
    cache.insert((*asked, 8, 9), [4, 5], 0, 2)
    assert found(cache, *kept, 8, 9) == [0, 1]
    assert found(cache, *asked, 8, 9) == [4, 5]
    assert cache.digest(1) != cache.digest(5)


def test_colliding_salts_find_nothing() -> None:
    ours, theirs = CollidingSalt("ours"), CollidingSalt("theirs")
    cache = cache_of(1, 2, salt=ours)
    assert found(cache, 1, 2, salt=ours) == [0]
    assert found(cache, 1, 2, salt=theirs) == []
    assert found(cache, 1, 2) == []


@given(st.lists(CHAINS, max_size=8, unique=True))
def test_digests_are_equal_only_for_equal_chains(chains: list[tuple[str | None, tuple[int, ...]]]) -> None:
    cache = PrefixCache(BlockPool(1), 2)
    known: dict[bytes, Any] = {}
    for salt, tokens in chains:
        for number, digest in enumerate(cache.digests(tokens, salt), 1):
            assert known.setdefault(digest, (salt, tokens[: 2 * number])) == (salt, tokens[: 2 * number])


def test_digests_do_not_run_numbers_or_blocks_together() -> None:
    digests = [
        PrefixCache(BlockPool(1), size).digests(tokens, salt)[-1]
        for size, tokens, salt in [
            (2, [1, 23], None),
            (2, [12, 3], None),
            (2, [12, 3], "1"),
            (2, [12, 3], "None"),
            (1, [12, 3], None),
            (1, [123], None),
        ]
    ]
    assert len(set(digests)) == 6


def test_digests_are_those_of_any_other_process() -> None:
    root = hashlib.sha256(b"salt:tenant").digest()
    first = hashlib.sha256(b"block" + root + b"1,-2").digest()
    second = hashlib.sha256(b"block" + first + str(MODULUS).encode() + b",4").digest()
    cache = cache_of(1, -2, MODULUS, 4, salt="tenant")
    assert [cache.digest(1), cache.digest(0)] == [second, first]
    assert cache.digests([1, -2, MODULUS, 4, 5], "tenant") == [first, second]
    assert cache.digests([1, -2, MODULUS, 4, 5], "tenant", start=1) == [second]
    assert cache.digests([1, -2, 3], "tenant", start=1) == []
    assert cache_of(7, 7).digest(0).hex() == "5a3f07d08f339857a8534a7a05be3569e65b94e3df8b035cd0ef680265673ff6"


def test_digests_from_a_later_block_on_need_no_block_in_the_cache() -> None:
    whole = PrefixCache(BlockPool(1), 2).digests(range(9))
    for kept in (0, 2, 4, 6):
        cache = cache_of(*range(kept))
        assert [cache.digests(range(9), start=start) for start in range(5)] == [whole[start:] for start in range(5)]


def test_the_callback_hears_of_content_when_its_last_copy_goes() -> None:
    cache, heard = cache_of(1, 2, 3, 4, num_blocks=3), []
    expected = cache.digests([1, 2, 3, 4])
    cache.on_evict = lambda block, digest: heard.append((block, digest))
    cache.insert((1, 2), [2], 0, 1)
    assert cache.pool.take(3) == [2, 1, 0]
    assert heard == [(1, expected[1]), (0, expected[0])]
    assert cache.evictions == 3
    assert (len(cache), cache.num_nodes) == (0, 0)


def test_nothing_is_given_up_when_the_callback_raises() -> None:
    cache = cache_of(1, 2, num_blocks=1)

    def refuse(block: int, digest: bytes) -> None:
        raise OSError("no space left")

    cache.on_evict = refuse
    with pytest.raises(OSError, match="no space left"):
        cache.pool.allocate()
    assert found(cache, 1, 2) == [0]
    assert cache.pool.free_order() == [0]
    assert cache.evictions == 0


def test_a_long_chain_is_no_recursion_and_leaves_nothing_behind() -> None:
    tokens = range(20_000)
    cache = cache_of(*tokens, block_size=1, num_blocks=20_000)
    assert len(cache.digest(19_999)) == 32
    for block in range(19_999):
        cache.remove(block)
    assert cache.num_nodes == 20_001  # the last block's chain is kept, as its start may be computed again
    cache.remove(19_999)
    assert cache.num_nodes == 0


def test_insert_walks_to_a_node_that_has_been_dropped() -> None:
    cache = cache_of(1, 2)
    _, node = cache.match((1, 2), 1)
    cache.remove(0)
    assert node is not None
    assert not node.attached
    cache.insert((1, 2, 3, 4), [0, 5], 1, 2, after=node)
    assert found(cache, 1, 2, 3, 4) == []
    cache.insert((1, 2), [0], 0, 1)
    assert found(cache, 1, 2, 3, 4) == [0, 5]


def test_reset_forgets_all_when_no_block_is_referenced() -> None:
    cache = cache_of(1, 2, 3, 4, salt="a")
    cache.pool.share(1)
    assert not cache.reset()
    assert found(cache, 1, 2, 3, 4, salt="a") == [0, 1]
    cache.pool.release(1)
    assert cache.reset()
    assert (len(cache), cache.num_nodes) == (0, 0)


@pytest.mark.parametrize(
    ("tokens", "blocks", "wrong"), [((1, 9, 3, 4), [0, 1], 0), ((7, 8, 3, 4), [5, 1], 1), ((1, 2), [1], 1)]
)
def test_refuses_other_tokens_for_a_block_that_is_known(tokens: tuple[int, ...], blocks: list[int], wrong: int) -> None:
    cache = cache_of(1, 2, 3, 4)
    with pytest.raises(ValueError, match=f"block {wrong} holds"):
        cache.insert(tokens, blocks, 0, len(blocks))
    assert found(cache, 1, 2, 3, 4) == [0, 1]
    assert cache.num_nodes == 1 + len({cache.digest(block) for block in range(8) if block in cache})


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (-1, 1), (2, 1)])
def test_refuses_to_insert_nothing(start: int, stop: int) -> None:
    cache = cache_of()
    with pytest.raises(ValueError, match="under stop"):
        cache.insert((1, 2), [0], start, stop)
    assert cache.num_nodes == 0


def test_refuses_the_digest_of_what_it_does_not_hold() -> None:
    cache = cache_of(1, 2)
    with pytest.raises(ValueError, match="block 1 is not in the prefix cache"):
        cache.digest(1)
    with pytest.raises(ValueError, match="from 0 to 7, got -8"):
        cache.digest(-8)


@pytest.mark.parametrize("block_size", [0, -1, 1.0, True])
def test_refuses_blocks_without_tokens(block_size: Any) -> None:
    with pytest.raises(ValueError, match="block_size must be an integer of at least 1"):
        PrefixCache(BlockPool(1), block_size)
