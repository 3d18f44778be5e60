"""One step of the engine: plan it, carry it out, choose a token for everyone whose tokens are all computed.

Requests are objects here, made and named elsewhere (``kb.serving.engine``). What the plan moves is moved before any
token is computed: first what leaves the device is read, then blocks are copied, then what comes in is written.

Shapes: T tokens of the step, D model width, R tokens after which one is chosen, V vocabulary.
"""

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor

from kb import runtime
from kb.lm import DecoderLM
from kb.serving.beam_request import BeamRequest
from kb.serving.beam_search import top_candidates
from kb.serving.block_pool import BlockPool
from kb.serving.block_tables import BlockTables
from kb.serving.engine_config import EngineConfig
from kb.serving.kv_cache import PagedKVCache
from kb.serving.plan import Load, Plan
from kb.serving.preemption import PreemptionCosts
from kb.serving.request import Continuation, Request
from kb.serving.runner import ModelRunner
from kb.serving.sampler import prompt_logprobs, sample
from kb.serving.scheduler import Scheduler
from kb.serving.sequence import Sequence, Status
from kb.serving.statistics import StepStatistics
from kb.serving.tiers.store import TieredStore

Observer = Callable[[Plan, StepStatistics], None]
Owner = tuple[Request, Continuation] | BeamRequest

_PREFILL_TOKENS = 64  # a step with as many is long enough to tell the seconds of one token among many


class EngineCore:
    """A model, its paged cache, and the sequences that it serves.

    Args:
        model: In inference mode; the cache lies on its device.
        config: Sizes and limits.
        tiers: Where blocks that the prefix cache gives up are kept; None for nowhere.
    """

    def __init__(self, model: DecoderLM, config: EngineConfig, tiers: TieredStore | None = None) -> None:
        weight = model.embed_tokens.weight
        self.cache = PagedKVCache(
            model.config,
            num_blocks=config.num_blocks,
            block_size=config.block_size,
            dtype=weight.dtype,
            device=weight.device,
        )
        self.device, self.tiers = weight.device, tiers
        self.runner = ModelRunner(model, self.cache, host_blocks=config.host_blocks)
        self.tables = BlockTables(config.num_blocks, config.block_size, prefix_caching=config.enable_prefix_caching)
        self.scheduler = Scheduler(
            self.tables,
            config.scheduler,
            host=BlockPool(config.host_blocks) if config.host_blocks else None,
            costs=PreemptionCosts(seconds_per_block=self.runner.seconds_per_block() or None),
            outside=self._outside if tiers is not None and config.enable_prefix_caching else None,
        )
        self.observers: list[Observer] = []
        self.statistics: StepStatistics | None = None
        self._owners: dict[int, Owner] = {}
        self.arrivals = self._sequences = self._steps = 0
        self._epoch = b""  # part of every key in the tiers; a new one makes all that is there unknown
        self._news: Plan | None = None

    def new_sequence(self, tokens: list[int], *, width: int, salt: str | None) -> Sequence:
        """The first sequence of a new request."""
        self._sequences += 1
        self.arrivals += 1
        return Sequence(self._sequences, (self.arrivals, 0), tokens, len(tokens), width, salt)

    def add(self, sequence: Sequence, owner: Owner) -> None:
        """Queue a sequence."""
        self._owners[sequence.id] = owner
        self.scheduler.add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, and release what it holds."""
        self.scheduler.finish(sequence)
        del self._owners[sequence.id]

    def step(self) -> list[Request | BeamRequest]:
        """Run one step; returns the requests that have something new.

        Raises:
            RuntimeError: nothing can be planned although sequences wait; admission checks are there to prevent it.
        """
        start = time.perf_counter()
        try:
            plan = self.scheduler.schedule()
            planned = time.perf_counter()
            if not plan.chunks and not plan.preempted:
                raise RuntimeError(
                    f"no sequence can go on, with {self.tables.num_free} free blocks: please report this"
                )
            with torch.inference_mode():
                self._move(plan)
                touched = self._choose(plan, self._compute(plan)) if plan.chunks else []
        except BaseException:
            self.scheduler.abandon()
            raise
        self._record(plan, start, planned)
        return touched

    def notify(self) -> None:
        """Tell the observers of the last step, once."""
        plan, self._news = self._news, None
        if plan is not None and self.statistics is not None:
            for observer in self.observers:
                observer(plan, self.statistics)

    def reset_prefix_cache(self) -> bool:
        """Forget all cached blocks, those in the tiers too; False, and nothing changed, while a sequence holds one."""
        if not self.tables.prefix.reset():
            return False
        self._epoch = os.urandom(8)
        return True

    def close(self) -> None:
        """Hand every cached block to the tiers, where they are for the next engine, and close these."""
        if self.tiers is None:
            return
        try:
            for block in self.tables.pool.free_order():  # what is used least first, as it is the first to be given up
                if block in self.tables.prefix:
                    self.tiers.store(self.tables.prefix.digest(block) + self._epoch, self.cache.page(block))
        finally:
            self.tiers.close()

    def _outside(self, tokens: list[int], salt: str | None, blocks: int) -> int:
        assert self.tiers is not None
        count = 0
        for key in self.tables.prefix.digests(tokens, salt, start=blocks):
            if not self.tiers.contains(key + self._epoch):
                break
            count += 1
        return count

    def _move(self, plan: Plan) -> None:
        for block, digest in plan.evicted:
            assert self.tiers is not None
            self.tiers.store(digest + self._epoch, self.cache.page(block))
        if plan.swap_out:
            start = time.perf_counter()
            self.runner.swap_out(plan.swap_out)
            runtime.synchronize(self.device)
            self.scheduler.costs.copied(len(plan.swap_out), time.perf_counter() - start)
        self.cache.copy(plan.copies)
        self.runner.swap_in(plan.swap_in)
        for load in plan.loads:
            self._load(load)

    def _load(self, load: Load) -> None:
        """Bring blocks in from a slower tier; from the first that is lost or damaged on, they will be computed."""
        assert self.tiers is not None
        sequence = load.sequence
        digests = self.tables.prefix.digests(sequence.tokens, sequence.salt, start=load.first)
        page = torch.empty_like(self.cache.page(load.blocks[0]), device="cpu")
        for place, (block, digest) in enumerate(zip(load.blocks, digests, strict=False)):
            if not self.tiers.load(digest + self._epoch, page):
                self.scheduler.retreat(sequence, (load.first + place) * self.tables.block_size)
                return
            self.cache.load_page(block, page)

    def _compute(self, plan: Plan) -> Tensor:
        start = time.perf_counter()
        tokens: list[int] = []
        chunks = []
        for sequence, begin, end in plan.chunks:
            tokens += sequence.tokens[begin:end]
            chunks.append((self.tables.blocks(sequence.id), begin, end))
        owners = [self._owners[sequence.id] for sequence, _, _ in plan.chunks]
        scoring = any(isinstance(one, tuple) and one[0].lacks_prompt_logprobs for one in owners)
        x_TD = self.runner.run(tokens, chunks, last_only=not scoring)
        if len(tokens) - len(chunks) >= _PREFILL_TOKENS:
            runtime.synchronize(self.device)
            self.scheduler.costs.computed(len(tokens), time.perf_counter() - start)
        return x_TD

    def _choose(self, plan: Plan, x_TD: Tensor) -> list[Request | BeamRequest]:
        touched: dict[int, Request | BeamRequest] = {}
        rows: list[int] = []
        sampled: list[tuple[Request, Continuation]] = []
        offering: list[tuple[BeamRequest, Sequence]] = []
        beam_rows: list[int] = []
        row = -1
        for sequence, start, end in plan.chunks:
            row += end - start if len(x_TD) > len(plan.chunks) else 1  # else there is one row for each chunk
            owner = self._owners[sequence.id]
            if isinstance(owner, BeamRequest):
                if not sequence.remaining:
                    offering.append((owner, sequence))
                    beam_rows.append(row)
                continue
            request, continuation = owner
            if request.num_cached_tokens is None:
                request.num_cached_tokens, request.stats.scheduled_ts = start, time.monotonic()
            if request.lacks_prompt_logprobs:
                try:
                    self._score_prompt(request, start, end, x_TD[row - end + start + 1 : row + 1])
                except ValueError as error:  # no distribution: this request ends, and no other
                    request.take(continuation, error)
                    touched[id(request)] = request
                    self._end(request)
                    continue
            if not sequence.remaining:
                for one in self._forked(request, continuation):
                    sampled.append((request, one))
                    rows.append(row)
        if not rows and not beam_rows:
            return list(touched.values())
        logits_RV = self.runner.logits(x_TD, [*rows, *beam_rows])
        results = sample(logits_RV[: len(rows)], [request.row(one) for request, one in sampled]) if rows else []
        for (request, one), result in zip(sampled, results, strict=True):
            request.take(one, result)
            touched[id(request)] = request
            if one.finish is not None:
                assert one.sequence is not None
                self.remove(one.sequence)
        for (search, sequence), logits_V in zip(offering, logits_RV[len(rows) :], strict=True):
            touched[id(search)] = search
            if bool(logits_V.amax().isfinite()):  # a NaN makes the largest one a NaN
                search.offer(sequence, top_candidates(logits_V, search.search.params.beam_width))
            else:
                search.failed = True
        for search in {id(search): search for search, _ in offering}.values():
            self._advance(search)
        return list(touched.values())

    def _forked(self, request: Request, first: Continuation) -> list[Continuation]:
        """The continuations that choose a token now: all of them where the prompt has just been computed."""
        parent = first.sequence
        assert parent is not None
        if parent.width == 1:
            return [first]
        for one in request.continuations[1:]:
            self._sequences += 1
            rank = (parent.rank[0], one.index)
            child = Sequence(self._sequences, rank, list(parent.tokens), parent.prompt_length, salt=parent.salt)
            self.scheduler.fork(parent, child)
            one.sequence = child
            self._owners[child.id] = (request, one)
        parent.width = 1
        return request.continuations

    def _end(self, request: Request) -> None:
        """Release what a request that failed as a whole still holds."""
        for one in request.continuations:
            one.finish = one.finish or request.continuations[0].finish
            if one.sequence is not None and one.sequence.id in self._owners:
                self.remove(one.sequence)

    def _advance(self, search: BeamRequest) -> None:
        before = search.sequences
        if search.failed:
            search.stop(self.scheduler)
            for sequence in before:
                self._owners.pop(sequence.id, None)
        if search.failed or not search.ready:
            return
        forks = search.advance(self.scheduler, self._sequences + 1)
        self._sequences += len(forks)
        for sequence in before:
            if sequence.status is Status.FINISHED:
                self._owners.pop(sequence.id, None)
        for fork in forks:
            if fork.status is not Status.FINISHED:
                self._owners[fork.id] = search

    def _score_prompt(self, request: Request, start: int, end: int, x_TD: Tensor) -> None:
        """Log-probabilities of the prompt's tokens after positions [start, end), as far as they are still missing."""
        assert request.prompt_logprobs is not None
        first = len(request.prompt_logprobs) - 1
        last = min(end, len(request.prompt_ids) - 1)
        if first >= last:
            return  # after a preemption, positions come a second time
        following = request.prompt_ids[first + 1 : last + 1]
        logits_TV = self.runner.logits(x_TD, range(first - start, last - start))
        wanted = request.params.prompt_logprobs
        assert wanted is not None
        for place, candidates in enumerate(prompt_logprobs(logits_TV, following, wanted), start=first + 1):
            request.prompt_logprobs.append(request.described(candidates, request.prompt_ids[:place]))

    def _record(self, plan: Plan, start: float, planned: float) -> None:
        for sequence, _ in plan.preempted:
            owner = self._owners.get(sequence.id)
            if isinstance(owner, tuple):
                owner[0].stats.num_preemptions += 1
        self.statistics = StepStatistics.of(plan, self.scheduler, step=self._steps, start=start, planned=planned)
        self._steps += 1
        self._news = plan
