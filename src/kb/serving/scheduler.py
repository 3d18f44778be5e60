"""Who computes what in the next step: continuous batching with chunked prefill and preemption.

Every step is filled anew. Sequences that decode get one token each; what is left of the token budget goes to prompts,
cut into chunks where they are longer. First come, first served, and in memory as well: where blocks run out, the
youngest sequence gives its blocks back, so the oldest always makes progress and nobody starves. Ints only: no tensor is
seen here, and a step of 256 sequences is planned in well under 2 ms.

Unusual: a prompt never takes the budget of those that decode behind it, and a preempted sequence may leave its blocks
in host memory instead of losing them (see ``kb.serving.preemption``).

Sources: Yu et al. 2022, Orca, section 4.1 (iteration-level scheduling); Kwon et al. 2023, section 4.5 (all-or-nothing
preemption of the latest); Agrawal et al. 2024, Sarathi-Serve, section 4 (chunked prefill beside decodes).
"""

from bisect import insort
from collections.abc import Callable

from kb.serving.block_pool import BlockPool
from kb.serving.block_tables import BlockTables, Copy
from kb.serving.plan import Chunk, Load, Plan, SchedulerConfig
from kb.serving.preemption import PreemptionCosts
from kb.serving.sequence import Sequence, Status

Outside = Callable[[list[int], str | None, int], int]


class Scheduler:
    """Queues of sequences, and the plan of the next step.

    Args:
        tables: Who holds which block.
        config: Limits of a step.
        host: Blocks of host memory for swapping; None for none.
        costs: What was measured of both ways of preemption.
        outside: ``(tokens, salt, blocks)``: how many full blocks after the first ``blocks`` a slower tier holds.
    """

    def __init__(
        self,
        tables: BlockTables,
        config: SchedulerConfig,
        *,
        host: BlockPool | None = None,
        costs: PreemptionCosts | None = None,
        outside: Outside | None = None,
    ) -> None:
        if config.preemption == "swap" and host is None:
            raise ValueError("preemption 'swap' needs blocks in host memory: give swap_space")
        self.tables, self.config, self.host = tables, config, host
        self.costs = costs or PreemptionCosts()
        self.outside = outside
        self.running: list[Sequence] = []  # by rank
        self.waiting: list[Sequence] = []  # by rank, those that were preempted among them
        self._plan = Plan()
        self._reserve = int(config.watermark * tables.pool.num_blocks)
        if outside is not None:
            tables.prefix.on_evict = lambda block, digest: self._plan.evicted.append((block, digest))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        insort(self.waiting, sequence, key=lambda one: one.rank)

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Let a child, whose tokens are the parent's, run on the parent's blocks."""
        self.tables.fork(parent.id, child.id)
        child.computed, child.status = parent.computed, Status.RUNNING
        insort(self.running, child, key=lambda one: one.rank)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and release what it holds."""
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
            self.tables.close(sequence.id)
        elif sequence.status is not Status.FINISHED:
            self.waiting.remove(sequence)
            self._release_host(sequence)
        sequence.status = Status.FINISHED

    def schedule(self) -> Plan:
        """The next step; the sequences count as computed up to the end of their chunk."""
        plan = self._plan = Plan()
        budget = self._continue_running(self.config.max_num_batched_tokens)
        if not plan.preempted:
            self._admit(budget)
        return plan

    def retreat(self, sequence: Sequence, computed: int) -> None:
        """Blocks of this step's loads that cover tokens from ``computed`` on did not come: compute these as well.

        They are computed in this very step, whatever its budget: sequences that share the blocks count on them.
        """
        chunks = self._plan.chunks
        place = next(place for place, chunk in enumerate(chunks) if chunk.sequence is sequence)
        chunks[place] = chunks[place]._replace(start=computed)

    def abandon(self) -> None:
        """The step failed on its way: whatever it was to write may be missing, so all start again from nothing."""
        touched = [*self.running, *(sequence for sequence, _ in self._plan.preempted)]
        for sequence in self.running:
            self.tables.forget(sequence.id, 0)
        for sequence in self.running:
            self.tables.close(sequence.id)
        self.running = []
        for sequence in touched:
            if sequence.status is Status.RUNNING:
                self.add(sequence)
            self._release_host(sequence)
            sequence.status, sequence.computed = Status.WAITING, 0

    def _continue_running(self, budget: int) -> int:
        decoding = sum(sequence.remaining == 1 for sequence in self.running)
        place = 0
        while place < len(self.running):
            sequence = self.running[place]
            count = sequence.remaining
            if count == 1:
                decoding -= 1
            elif count > 1:
                count = min(count, budget - decoding)
            if count > 0:
                gone = self._make_room(sequence, sequence.computed + count)
                decoding -= sum(one.remaining == 1 for one in gone if one is not sequence)
                if sequence.status is not Status.RUNNING:
                    break
                budget -= count
            place += 1
        return budget

    def _make_room(self, sequence: Sequence, end: int) -> list[Sequence]:
        """Blocks for the tokens up to ``end``, then its chunk; returns who was preempted for it, itself perhaps."""
        gone: list[Sequence] = []
        while True:
            copies = self.tables.grow(sequence.id, sequence.computed, end)
            if copies is not None:
                self._plan.copies += copies
                self._compute(sequence, end)
                return gone
            youngest = self.running.pop()
            gone.append(youngest)
            self._preempt(youngest)
            if youngest is sequence:
                return gone

    def _compute(self, sequence: Sequence, end: int) -> None:
        size = self.tables.block_size
        if end // size > sequence.computed // size:
            self.tables.fill(sequence.id, sequence.tokens, end)
        if end > sequence.computed:
            self._plan.chunks.append(Chunk(sequence, sequence.computed, end))
        sequence.computed = end

    def _preempt(self, sequence: Sequence) -> None:
        blocks = self.tables.blocks(sequence.id)[: -(-sequence.computed // self.tables.block_size)]
        if self._should_swap(sequence.computed, len(blocks)):
            assert self.host is not None
            sequence.host_blocks = [self.host.allocate() for _ in blocks]
            self._plan.swap_out += map(Copy, blocks, sequence.host_blocks)
            sequence.status = Status.SWAPPED
        else:
            sequence.computed = 0
            sequence.status = Status.WAITING
        self.tables.close(sequence.id)
        self._plan.preempted.append((sequence, sequence.status))
        self.add(sequence)

    def _should_swap(self, tokens: int, blocks: int) -> bool:
        if self.host is None or not blocks or self.host.num_free < blocks or self.config.preemption == "recompute":
            return False
        return self.config.preemption == "swap" or self.costs.swap_is_cheaper(tokens, blocks)

    def _admit(self, budget: int) -> None:
        seats = self.config.max_num_seqs - sum(sequence.width for sequence in self.running)
        while self.waiting and budget > 0:
            sequence = self.waiting[0]
            if sequence.width > seats:
                break
            used = self._bring_back(sequence) if sequence.status is Status.SWAPPED else self._start(sequence, budget)
            if used is None:
                break
            self.waiting.pop(0)
            sequence.status = Status.RUNNING
            insort(self.running, sequence, key=lambda one: one.rank)
            seats -= sequence.width
            budget -= used

    def _start(self, sequence: Sequence, budget: int) -> int | None:
        """Admit a sequence that holds nothing; returns the tokens planned for it, None where there is no room."""
        tables, tokens, salt = self.tables, sequence.tokens, sequence.salt
        cached = len(tables.cached_prefix(tokens, salt))
        outside = self.outside(tokens, salt, cached) if self.outside is not None else 0
        if not self.config.enable_chunked_prefill and len(tokens) - (cached + outside) * tables.block_size > budget:
            return None
        opened = tables.open(sequence.id, tokens, budget, salt=salt, reserve=self._kept_free(), outside=outside)
        if opened is None:
            return None
        sequence.computed, end = opened
        if sequence.computed > cached * tables.block_size:
            last = sequence.computed // tables.block_size
            self._plan.loads.append(Load(sequence, cached, tables.blocks(sequence.id)[cached:last]))
        used = end - sequence.computed
        self._compute(sequence, end)
        return used

    def _bring_back(self, sequence: Sequence) -> int | None:
        """Admit a sequence from host memory, for one token; blocks that the prefix cache still has are shared."""
        tables, size = self.tables, self.tables.block_size
        cached = len(tables.cached_prefix(sequence.tokens, sequence.salt)) * size
        budget = max(1, sequence.computed + 1 - cached)
        opened = tables.open(sequence.id, sequence.tokens, budget, salt=sequence.salt, reserve=self._kept_free())
        if opened is None:
            return None
        cached, end = opened
        kept = slice(cached // size, -(-sequence.computed // size))
        self._plan.swap_in += map(Copy, sequence.host_blocks[kept], tables.blocks(sequence.id)[kept])
        self._release_host(sequence)
        sequence.computed = max(sequence.computed, cached)
        used = end - sequence.computed  # none for one that only waits for others of its request
        self._compute(sequence, end)
        return used

    def _kept_free(self) -> int:
        # Where nothing else is computed, those that run wait for this very sequence (beams of one search do).
        return self._reserve if self._plan.chunks else 0

    def _release_host(self, sequence: Sequence) -> None:
        for block in sequence.host_blocks:
            assert self.host is not None
            self.host.release(block)
        sequence.host_blocks = []
