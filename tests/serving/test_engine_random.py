"""Random traffic through engines of every setting: each request gets the tokens that it would get alone.

Requests come and go at random, with prompts that share beginnings, several samples, beams and aborts in between; blocks
are few, so that sequences are preempted all the time. In float64 round-off decides nothing, and no token may differ.
"""

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
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

from kb.lm import DecoderLM
from kb.serving.beam_request import BeamRequest
from kb.serving.beam_search import beam_search_loop
from kb.serving.beam_search_params import BeamSearchParams
from kb.serving.engine import Engine
from kb.serving.engine_config import EngineConfig
from kb.serving.plan import SchedulerConfig
from kb.serving.sampling_params import SamplingParams
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.store import TieredStore

Answers = Callable[[DecoderLM, list[int], SamplingParams], list[list[int]]]

# Three beginnings, so that prefixes are shared; then a little of its own.
PROMPTS = st.builds(
    lambda start, length, own: [(start * 7 + 3 * i) % 60 + 1 for i in range(length)] + own,
    st.integers(0, 2),
    st.integers(0, 14),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
)
PARAMS = st.one_of(
    st.builds(
        lambda most, eos: SamplingParams(temperature=0, max_tokens=most, ignore_eos=eos),
        st.integers(1, 14),
        st.booleans(),
    ),
    st.builds(
        lambda n, seed, temperature, most, top_p, stop: SamplingParams(
            n=n, seed=seed, temperature=temperature, max_tokens=most, top_p=top_p, stop_token_ids=[stop]
        ),
        st.integers(1, 4),
        st.integers(0, 5),
        st.sampled_from([0.7, 1.0, 1.5]),
        st.integers(1, 12),
        st.sampled_from([0.8, 1.0]),
        st.integers(0, 60),
    ),
)
ENGINES = st.fixed_dictionaries(
    {
        "size": st.integers(1, 7),
        "spare": st.integers(0, 4),
        "budget": st.integers(8, 40),
        "chunked": st.booleans(),
        "host": st.sampled_from([0, 3, 40]),
        "way": st.sampled_from(["recompute", "swap", "auto"]),
        "prefix_caching": st.booleans(),
        "tiers": st.sampled_from(["none", "host", "disk", "both"]),
        "watermark": st.sampled_from([0.0, 0.1]),
    }
)
EVENTS = ("evicted", "swap_out", "swap_in", "copies", "loads", "step with a prefix found again", "abort", "search")
LONGEST = 33  # 19 prompt tokens and 14 new ones at most
WIDTH = 2


class RandomTraffic(RuleBasedStateMachine):
    """Rules are what callers do; at the end of each answer it is compared with that of plain generation."""

    model: DecoderLM
    plain: DecoderLM  # gives the answers
    answers: Answers
    folder: Path
    engines = 0
    seen: Counter[str]  # what has happened so far, in all engines

    @initialize(options=ENGINES)
    def start(self, options: dict[str, Any]) -> None:
        cls = type(self)
        cls.engines += 1
        size = options["size"]
        blocks = WIDTH * -(-LONGEST // size) + options["spare"]
        self.store = self.tier_store(options["tiers"], size)
        way = options["way"] if options["host"] else "recompute"
        budget = options["budget"] if options["chunked"] else max(options["budget"], LONGEST)
        config = EngineConfig(
            blocks,
            size,
            LONGEST,
            options["prefix_caching"],
            options["host"],
            scheduler=SchedulerConfig(budget, 8, options["chunked"], way, options["watermark"]),
        )
        self.engine = Engine(self.model, config, tiers=self.store)
        self.engine.core.scheduler.costs.seconds_per_block = 1e-5  # else copying never pays for so small a model
        self.wanted: dict[str, list[list[int]]] = {}
        self.beams: list[tuple[BeamRequest, list[list[int]]]] = []
        self.engine.core.observers.append(self.count)
        self.names = 0

    def tier_store(self, which: str, size: int) -> TieredStore | None:
        if which == "none":
            return None
        config, dtype = self.model.config, self.model.embed_tokens.weight.dtype
        disk = None
        if which != "host":
            nbytes = config.kv_elements_per_token * size * dtype.itemsize
            folder = self.folder / f"tier-{type(self).engines}"
            disk = DiskTier(folder, page_nbytes=nbytes, capacity_pages=9, fingerprint="tiny", keep_cached=True)
        shape = (2, config.num_layers, size, config.num_kv_heads, config.head_dim)
        self.disk = disk
        return TieredStore(shape, dtype, host_pages=0 if which == "disk" else 5, disk=disk)

    def count(self, plan: Any, statistics: Any) -> None:
        self.seen["step"] += 1
        for event in ("preempted", "evicted", "swap_out", "swap_in", "copies", "loads"):
            self.seen[event] += len(getattr(plan, event))
        self.seen["step with a prefix found again"] += statistics.hit_rate > 0

    @rule(jobs=st.lists(st.tuples(PROMPTS, PARAMS), min_size=3, max_size=9))
    def ask(self, jobs: list[tuple[list[int], SamplingParams]]) -> None:
        for prompt, params in jobs:
            self.names += 1
            self.engine.add_request(str(self.names), prompt, params)
            self.wanted[str(self.names)] = self.answers(self.plain, prompt, params)

    @rule(prompt=PROMPTS, width=st.integers(1, WIDTH), most=st.integers(1, 6))
    def search(self, prompt: list[int], width: int, most: int) -> None:
        self.names += 1
        params = BeamSearchParams(width, most)
        request = self.engine.add_beam_search(str(self.names), prompt, params)
        self.beams.append((request, beams_alone(self.plain, tuple(prompt), params)))

    @precondition(lambda self: self.wanted)
    @rule(which=st.integers(0))
    def abort(self, which: int) -> None:
        name = sorted(self.wanted)[which % len(self.wanted)]
        (output,) = self.engine.abort_request(name)
        self.seen["abort"] += 1
        wanted = self.wanted.pop(name)
        for one in output.outputs:  # what it had so far is the beginning of what it would have got
            assert list(one.token_ids) == wanted[one.index][: len(one.token_ids)]

    @rule()
    def forget_prefixes(self) -> None:
        held = self.engine.core.tables.num_used > 0
        assert self.engine.reset_prefix_cache() is not held

    @rule(steps=st.integers(1, 12))
    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            for output in self.engine.step():
                if output.finished:
                    assert [list(one.token_ids) for one in output.outputs] == self.wanted.pop(output.request_id)
        waiting = []
        for request, wanted in self.beams:
            if request.search.done:
                assert [beam.tokens for beam in request.search.best()] == wanted
                self.seen["search"] += 1
            else:
                waiting.append((request, wanted))
        self.beams = waiting

    @invariant()
    def nothing_leaks(self) -> None:
        if hasattr(self, "engine") and not self.engine.has_unfinished_requests():
            assert self.engine.core.tables.num_used == 0
            host = self.engine.core.scheduler.host
            assert host is None or host.num_free == host.num_blocks

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            for _ in range(2000):
                if not self.engine.has_unfinished_requests():
                    break
                self.go_on(1)
            assert not self.engine.has_unfinished_requests()
            assert (self.wanted, self.beams) == ({}, [])
            self.nothing_leaks()
        finally:
            if self.store is not None:
                self.store.close()
                if self.disk is not None:
                    self.disk.close()


@cache
def beams_alone(model: DecoderLM, prompt: tuple[int, ...], params: BeamSearchParams) -> list[list[int]]:
    return [beam.tokens for beam in beam_search_loop(model, list(prompt), params)]


@pytest.mark.slow
def test_random_traffic_gives_every_request_its_own_tokens(
    tiny: DecoderLM, answers: Answers, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    examples = int(os.environ.get("KB_SERVING_EXAMPLES", "20"))
    # A run of ten examples takes some hundred steps, or a thousand: runs are added until enough has happened.
    settled = settings(max_examples=10, stateful_step_count=30, derandomize=False, database=None)
    seen: Counter[str] = Counter()
    parts = {"model": tiny, "plain": tiny, "answers": staticmethod(answers), "folder": tmp_path, "seen": seen}
    machine = type("Traffic", (RandomTraffic,), parts)
    enough = {**dict.fromkeys(EVENTS, 0), "step": 40 * examples, "preempted": examples}
    for _ in range(2 * examples):
        run_state_machine_as_test(machine, settings=settled)
        if all(seen[event] > least for event, least in enough.items()):
            break
    record_property("steps", seen["step"])
    assert {event: seen[event] for event, least in enough.items() if seen[event] <= least} == {}


def test_fused_blocks_in_float32_give_random_traffic_its_own_tokens(
    model_maker: Callable[..., DecoderLM], answers: Answers, tmp_path: Path
) -> None:
    """The same traffic in every run: in float32 one draw in very many is tied."""
    plain, fused = model_maker(dtype=torch.float32), model_maker(dtype=torch.float32)
    pytest.importorskip("kb.serving.fused_block").fuse_blocks(fused)
    settled = settings(max_examples=10, stateful_step_count=30, derandomize=True, database=None)
    seen: Counter[str] = Counter()
    parts = {"model": fused, "plain": plain, "answers": staticmethod(answers), "folder": tmp_path, "seen": seen}
    run_state_machine_as_test(type("FusedTraffic", (RandomTraffic,), parts), settings=settled)
    assert seen["preempted"] > 0
