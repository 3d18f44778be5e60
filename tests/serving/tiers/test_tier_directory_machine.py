"""The bookkeeping of tiers under any order of calls that a program may make, with failures anywhere."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kb.serving.tiers.directory import PageDirectory
from kb.serving.tiers.moves import Move

KEYS = st.integers(0, 7).map(lambda number: b"page-%d" % number)


class Tiers(RuleBasedStateMachine):
    """Every call in any order, moves carried out late, failures anywhere; slots and files hold the keys themselves."""

    HOST, DISK = 3, 3

    def __init__(self) -> None:
        super().__init__()
        self.directory = PageDirectory(self.HOST, self.DISK)
        self.slots: dict[int, bytes] = {}
        self.files: dict[bytes, int] = {}  # and which writing of it this is
        self.writings = 0
        self.moves: deque[Move] = deque()
        self.reads: list[tuple[bytes, int, int]] = []
        self.pins: dict[bytes, int] = {}

    def write(self, key: bytes) -> None:
        self.writings += 1
        self.files[key] = self.writings

    def gone(self) -> None:
        self.pins = {key: pins for key, pins in self.pins.items() if self.directory.knows(key)}

    @rule(key=KEYS, pinned=st.booleans())
    def store(self, key: bytes, pinned: bool) -> None:
        if self.directory.knows(key):
            self.directory.touch(key)
            return
        before = len(self.directory)
        move = self.directory.plan_store(key, pinned=pinned)
        if move is None:
            assert len(self.directory) == before
            return
        assert not self.directory.contains(key)
        self.pins |= {key: 1} if pinned else {}
        self.moves.append(move)

    @rule(key=KEYS)
    def load_up(self, key: bytes) -> None:
        move = self.directory.plan_load(key)
        if move is not None:
            assert self.directory.contains(key)
            self.moves.append(move)

    @precondition(lambda self: self.moves)
    @rule(written=st.booleans(), arrives=st.booleans())
    def carry_out(self, written: bool, arrives: bool) -> None:
        move = self.moves.popleft()
        if move.discard is not None:
            self.files.pop(move.discard, None)
        if move.victim is not None and move.slot is not None:
            victim = move.victim[0]
            if self.directory.knows(victim):
                assert self.slots[move.slot] == victim  # nobody has written over it
            if written:
                self.write(victim)
            was_pinned = victim in self.pins
            free, useless = self.directory.finish_victim(move, written=written)
            if useless:
                self.files.pop(victim, None)
            assert free or (was_pinned and not written)
            if not free:
                return self.gone()
        if move.from_disk:
            arrives = arrives and move.key in self.files
        if arrives and move.slot is None:
            self.write(move.key)
        elif arrives and move.slot is not None:
            assert all(self.directory.host_slot(key) != move.slot for key in map(b"page-%d".__mod__, range(8)))
            self.slots[move.slot] = move.key
        if self.directory.finish(move, arrived=arrives):
            self.files.pop(move.key, None)
        return self.gone()

    @rule(key=KEYS)
    def begin_read(self, key: bytes) -> None:
        ticket = self.directory.begin_read(key)
        assert (ticket is not None) <= (key in self.files)
        if ticket is not None:
            self.reads.append((key, ticket, self.files[key]))

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), damaged=st.booleans())
    def end_read(self, data: st.DataObject, damaged: bool) -> None:
        key, ticket, writing = self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1)))
        damaged = damaged or self.files.get(key) != writing
        if damaged and self.files.get(key) == writing:
            del self.files[key]
        self.directory.end_read(key, ticket, right=not damaged)
        self.gone()

    @rule(key=KEYS)
    def pin(self, key: bytes) -> None:
        assert self.directory.pin(key) == self.directory.knows(key)
        if self.directory.knows(key):
            self.pins[key] = self.pins.get(key, 0) + 1

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.pins)))
        self.directory.unpin(key)
        self.pins[key] -= 1
        self.pins = {key: pins for key, pins in self.pins.items() if pins}

    @rule(key=KEYS)
    def drop(self, key: bytes) -> None:
        if self.directory.drop(key):
            del self.files[key]
        assert not self.directory.knows(key)
        self.gone()

    @invariant()
    def what_is_readable_is_there(self) -> None:
        taken = []
        for key in map(b"page-%d".__mod__, range(8)):
            slot = self.directory.host_slot(key)
            if slot is not None:
                assert self.slots[slot] == key
                taken.append(slot)
            elif self.directory.contains(key) and not any(reader == key for reader, _, _ in self.reads):
                assert key in self.files
        assert len(taken) == len(set(taken)) <= self.HOST
        assert self.directory.disk_used <= self.DISK

    @invariant()
    def what_is_pinned_is_kept(self) -> None:
        assert all(self.directory.knows(key) for key in self.pins)

    def teardown(self) -> None:
        """At rest, nothing has leaked: every slot can be had again, and every file is known."""
        while self.moves:
            self.carry_out(True, True)
        assert all(self.directory.contains(key) for key in self.files)
        for key in map(b"page-%d".__mod__, range(8)):
            self.directory.drop(key)
        assert self.directory.disk_used == 0
        fresh = [self.directory.plan_store(b"new-%d" % number) for number in range(self.HOST + self.DISK)]
        assert {move.slot for move in fresh if move} == {0, 1, 2, None}
        assert self.directory.plan_store(b"one too many") is None


TestTiers = Tiers.TestCase
TestTiers.settings = settings(max_examples=150, stateful_step_count=60)
