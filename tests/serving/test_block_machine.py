"""Random schedules of block tables against a model that looks at everything, and against what the blocks contain.

The memory of the machine keeps in each slot not a token but the token and all before it, as keys and values depend on
them. It is written, copied and read only through the tables, so a block that two sequences write, a copy that is not
reported or a hit on the wrong block shows as a wrong history.
"""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kb.serving.block_tables import BlockTables, Copy

History = tuple[str | None, tuple[int, ...]]  # salt, and all tokens up to one
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=9)
NEW = st.lists(st.integers(0, 1), min_size=1, max_size=4)
SALTS = st.sampled_from([None, None, "salt"])


class Known:
    """What the model knows of one sequence."""

    def __init__(self, tokens: list[int], salt: str | None, blocks: list[int], entered: int, written: int) -> None:
        self.tokens, self.salt, self.blocks = tokens, salt, blocks
        self.entered = entered  # blocks that it has offered to the cache
        self.written = written  # tokens that have a history in memory

    def history(self, end: int) -> History:
        return self.salt, tuple(self.tokens[:end])


class Machine(RuleBasedStateMachine):
    """Dicts and lists, searched from end to end."""

    @initialize(num_blocks=st.integers(3, 9), size=st.integers(1, 3))
    def make(self, num_blocks: int, size: int) -> None:
        self.size, self.num_blocks, self.next_id = size, num_blocks, 0
        self.told: list[tuple[int, bytes]] = []
        self.due: list[tuple[int, History]] = []
        self.digests: dict[bytes, History] = {}
        self.tables = BlockTables(num_blocks, size, on_evict=lambda block, digest: self.told.append((block, digest)))
        self.queue = list(range(num_blocks))
        self.known: dict[int, Known] = {}
        self.cached: dict[int, History] = {}  # by block, in the order in which they entered
        self.memory: list[list[History | None]] = [[None] * size for _ in range(num_blocks)]

    # The model.

    def references(self, block: int) -> int:
        return sum(one.blocks.count(block) for one in self.known.values())

    def brute_force(self, tokens: list[int], salt: str | None) -> list[int]:
        hits = []
        for end in range(self.size, len(tokens), self.size):
            same = [block for block, history in self.cached.items() if history == (salt, tuple(tokens[:end]))]
            if not same:
                break
            hits.append(same[0])
        return hits

    def allocate(self) -> int:
        block = self.queue.pop(0)
        history = self.cached.pop(block, None)
        if history is not None and history not in self.cached.values():
            self.due.append((block, history))
        return block

    def release(self, block: int) -> None:
        """After the table has let go of it."""
        if self.references(block) == 0:
            self.queue.append(block)

    def write(self, one: Known, end: int) -> None:
        for t in range(one.written, end):
            self.memory[one.blocks[t // self.size]][t % self.size] = one.history(t + 1)
        one.written = max(one.written, end)

    def enter(self, one: Known, end: int) -> None:
        for i in range(one.entered, end // self.size):
            self.cached.setdefault(one.blocks[i], one.history((i + 1) * self.size))
        one.entered = max(one.entered, end // self.size)

    # What a scheduler does.

    @rule(tokens=TOKENS, salt=SALTS, budget=st.integers(1, 9), reserve=st.integers(0, 2), outside=st.integers(0, 2))
    def open(self, tokens: list[int], salt: str | None, budget: int, reserve: int, outside: int) -> None:
        hits = self.brute_force(tokens, salt)
        assert self.tables.cached_prefix(tokens, salt) == hits
        loaded = min(outside, (len(tokens) - 1) // self.size - len(hits))
        cached = (len(hits) + loaded) * self.size
        end = min(len(tokens), cached + budget)
        needed = -(-end // self.size) - len(hits)
        seq_id, self.next_id = self.next_id, self.next_id + 1
        opened = self.tables.open(seq_id, tokens, budget, salt=salt, reserve=reserve, outside=outside)
        if len([block for block in self.queue if block not in hits]) - needed < reserve:
            assert opened is None
            return
        assert opened == (cached, end)
        self.queue = [block for block in self.queue if block not in hits]
        blocks = hits + [self.allocate() for _ in range(needed)]
        self.known[seq_id] = one = Known(list(tokens), salt, blocks, len(hits), len(hits) * self.size)
        self.write(one, end)  # the slower tier's blocks and the chunk

    @precondition(lambda self: self.known)
    @rule(data=st.data(), new=NEW, fill=st.booleans(), back=st.integers(0, 2))
    def append(self, data: st.DataObject, new: list[int], fill: bool, back: int) -> None:
        """The next chunk; sometimes the sequence turns back first and goes on with other tokens."""
        seq_id = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[seq_id]
        start = max(1, one.written - back)
        end = start + len(new)
        touched = range(start // self.size, min(-(-end // self.size), len(one.blocks)))
        shared = [i for i in touched if self.references(one.blocks[i]) > 1]
        added = max(0, -(-end // self.size) - len(one.blocks))
        assert self.tables.blocks_needed(seq_id, start, end) == len(shared) + added
        copies = self.tables.grow(seq_id, start, end)
        if len(shared) + added > len(self.queue):
            assert copies is None
            return
        expected = []
        for i in shared:
            expected.append(Copy(one.blocks[i], self.allocate()))
            one.blocks[i] = expected[-1].target
        assert copies == expected
        one.blocks += [self.allocate() for _ in range(added)]
        for source, target in copies:
            self.memory[target] = list(self.memory[source])
        for i in touched:
            self.cached.pop(one.blocks[i], None)
        one.entered = min(one.entered, start // self.size)
        one.tokens, one.written = one.tokens[:start] + new, start
        self.write(one, end)
        if fill:
            self.tables.fill(seq_id, one.tokens, end)
            self.enter(one, end)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def fill(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[seq_id]
        end = data.draw(st.integers(0, one.written))
        self.tables.fill(seq_id, one.tokens, end, one.salt)
        self.enter(one, end)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        parent = self.known[parent_id := data.draw(st.sampled_from(sorted(self.known)))]
        self.tables.fork(parent_id, self.next_id)
        self.known[self.next_id] = Known(
            list(parent.tokens), parent.salt, list(parent.blocks), parent.entered, parent.written
        )
        self.next_id += 1

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.known)))
        self.tables.close(seq_id)
        one = self.known.pop(seq_id)
        for block in reversed(one.blocks):
            self.release(block)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[seq_id]
        from_token = data.draw(st.integers(0, one.written))
        self.tables.forget(seq_id, from_token)
        for block in one.blocks[from_token // self.size :]:
            self.cached.pop(block, None)
        one.entered = min(one.entered, from_token // self.size)

    @rule()
    def reset(self) -> None:
        assert self.tables.prefix.reset() == (not self.known)
        if not self.known:
            self.cached = {}

    @rule(tokens=TOKENS, salt=SALTS)
    def digest(self, tokens: list[int], salt: str | None) -> None:
        """Blocks that a slower tier is asked for have the digests under which it was told of them."""
        hits = len(self.brute_force(tokens, salt))
        for place, digest in enumerate(self.tables.outside_digests(tokens, salt), hits + 1):
            history = salt, tuple(tokens[: place * self.size])
            assert self.digests.setdefault(digest, history) == history

    # What must hold after each.

    @invariant()
    def tables_and_queue_are_the_models(self) -> None:
        tables, pool = self.tables, self.tables.pool
        counts = [self.references(block) for block in range(self.num_blocks)]
        assert {seq_id: tables.blocks(seq_id) for seq_id in tables.sequences()} == {
            seq_id: one.blocks for seq_id, one in self.known.items()
        }
        assert [pool.references(block) for block in range(self.num_blocks)] == counts
        assert pool.free_order() == self.queue
        assert sorted(self.queue) == [block for block, count in enumerate(counts) if count == 0]
        assert tables.num_free == len(self.queue)
        assert tables.num_used == self.num_blocks - len(self.queue)
        assert tables.num_shared == sum(count > 1 for count in counts)

    @invariant()
    def every_sequence_reads_its_own_tokens(self) -> None:
        for one in self.known.values():
            for t in range(one.written):
                assert self.memory[one.blocks[t // self.size]][t % self.size] == one.history(t + 1)

    @invariant()
    def the_cache_holds_full_blocks_with_what_it_says(self) -> None:
        prefix = self.tables.prefix
        assert {block for block in range(self.num_blocks) if block in prefix} == set(self.cached)
        assert len(prefix) == len(self.cached)
        for block, (salt, tokens) in self.cached.items():
            assert self.memory[block] == [(salt, tokens[: len(tokens) - i]) for i in reversed(range(self.size))]

    @invariant()
    def no_node_is_kept_that_leads_nowhere(self) -> None:
        nodes = {
            (salt, tokens[:end])
            for salt, tokens in self.cached.values()
            for end in range(0, len(tokens) + 1, self.size)
        }
        assert self.tables.prefix.num_nodes == len(nodes)

    @invariant()
    def tiers_hear_of_exactly_what_is_given_up(self) -> None:
        assert [block for block, _ in self.told] == [block for block, _ in self.due]
        for (_, digest), (_, history) in zip(self.told, self.due, strict=True):
            assert self.digests.setdefault(digest, history) == history
        assert len(set(self.digests.values())) == len(self.digests)


def check(examples: int, steps: int) -> None:
    options: Any = {"max_examples": examples, "stateful_step_count": steps, "deadline": None}
    run_state_machine_as_test(Machine, settings=settings(**options))


def test_random_schedules() -> None:
    check(examples=100, steps=40)


@pytest.mark.slow
def test_more_and_longer_random_schedules() -> None:
    check(examples=60, steps=150)
