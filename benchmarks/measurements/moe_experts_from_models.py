"""Experts out of models, at equal compute: loss on four domains of the ways to spend one budget, five seeds each.

The budget is that of 600 steps of the dense model; a seed model takes half of it. Seeds run two at a time, one thread
each.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor

from benchmarks.measurement import Measurement, Samples
from kb.lm import DecoderLM
from kb.moe.domains import NAMES, Domain, domains
from kb.moe.equal_compute import Recipe, active_parameters, step_flops
from kb.moe.merging import Ensemble, average, branch_train_mix
from kb.moe.specialisation import normalised_mutual_information, usage_over
from kb.moe.upcycling import upcycle

DEVICES = ("cpu",)
SEEDS = 5
WORKERS = 2
FIRST = 0.5  # share of the budget that the seed model takes
ALONE = 0.25  # and that a model of fewer domains gets
FREE = "mixed, branches free"


def measure(device: torch.device) -> Measurement:
    """Train all ways with each seed; assert that each has spent the budget, within 1 %."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context, initializer=_one_thread) as pool:
        runs = list(pool.map(one_seed, range(SEEDS)))
    recipe = Recipe()
    models = {
        "dense": recipe.dense(0),
        "sparse": recipe.sparse(0),
        "half as wide": recipe.sparse(0, inner=_half(recipe)),
    }
    return Measurement(
        title=f"Ways to a model of four domains at the compute of {recipe.budget} steps of a dense model, bytes",
        method=f"{SEEDS} seeds, of weights and of windows; held-out documents; {WORKERS} processes of one thread",
        samples={name: Samples(_unit(name), [round(run[name], 5) for run in runs]) for name in runs[0]},
        facts={
            "budget": recipe.budget,
            "seed's share": FIRST,
            "share alone": ALONE,
            "batch": recipe.batch,
            "length": recipe.length,
            "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
            "active": {name: active_parameters(model) for name, model in models.items()},
            "flops a step": {name: step_flops(model, recipe.batch, recipe.length) for name, model in models.items()},
        },
    )


def _one_thread() -> None:
    os.environ["KB_PROGRESS"] = "0"
    torch.set_num_threads(1)


def _unit(name: str) -> str:
    return "" if name.startswith("NMI") else "bits/byte"


def _half(recipe: Recipe) -> int:
    return recipe.config.intermediate_size // recipe.router.top_k


def one_seed(seed: int) -> dict[str, float]:
    """Bits per byte by "way: domain", and what experts and labels tell of each other."""
    parts = domains()
    ways = Ways(seed, parts)
    ways.from_nothing()
    ways.from_the_seed_model()
    ways.from_branches()
    return ways.found | fewer(seed, parts)


class Ways:
    """All ways to spend the budget on four domains, for one seed; ``found`` holds what came of them."""

    def __init__(self, seed: int, parts: dict[str, Domain]) -> None:
        self.recipe, self.parts, self.base = Recipe(), parts, 1000 * seed
        self.mixture_N = torch.cat([part.train_N for part in parts.values()])
        self.found: dict[str, float] = {}
        dense = self.recipe.dense(self.base)
        self.seed_model, _ = self.recipe.trained(dense, self.mixture_N, FIRST, seed=self.base + 1, last=False)
        self._note("seed model", self.seed_model)

    def from_nothing(self) -> None:
        """The rate falls over the second half, as it does for those that start from the seed model."""
        fresh = self.recipe.sparse(self.base)
        half, _ = self.recipe.trained(fresh, self.mixture_N, FIRST, seed=self.base + 1, last=False)
        self._know("from scratch", self._finish("from scratch", half, FIRST))

    def from_the_seed_model(self) -> None:
        """Trained on, as it is or as equal experts."""
        router, base = self.recipe.router, self.base
        self._finish("dense", self.seed_model, FIRST)
        self._know("upcycled", self._finish("upcycled", upcycle(self.seed_model, router, seed=base), FIRST))
        self._finish("drop-upcycled", upcycle(self.seed_model, router, seed=base, drop=0.5), FIRST)

    def from_branches(self) -> None:
        """Experts that were networks of domain models; and these models without any mixing."""
        for share in (0.15, 0.3):
            branches = self._branches(share, last=False)
            merged = branch_train_mix(branches, self.recipe.router, seed=self.base)
            self._note(f"mixed, {share:.0%} on branches, untrained", merged)
            way = f"mixed, {share:.0%} on branches"
            self._know(way, self._finish(way, merged, FIRST + share))
        self._finish(FREE, merged, FIRST)  # as if nobody had to pay for the branches
        self._finish(f"averaged, {share:.0%} on branches", average(branches), FIRST + share)
        models = self._branches(1 - FIRST, last=True)
        for name, model in zip(NAMES, models, strict=True):
            self._note(f"{name} alone", model)
        self._note("average", average(models))
        self._note("ensemble, uniform", Ensemble(models, weighting="uniform"))
        self._note("ensemble, posterior", Ensemble(models))

    def _branches(self, share: float, *, last: bool) -> list[DecoderLM]:
        one = share / len(self.parts)
        return [
            self.recipe.trained(self.seed_model, part.train_N, one, seed=self.base + 3 + i, last=last)[0]
            for i, part in enumerate(self.parts.values())
        ]

    def _finish(self, way: str, model: DecoderLM, spent: float) -> DecoderLM:
        share, recipe = 1 - spent, self.recipe
        trained, steps = recipe.trained(model, self.mixture_N, share, seed=self.base + 2)
        units = len(steps) * step_flops(trained, recipe.batch, recipe.length)
        paid = units / (recipe.budget * step_flops(recipe.dense(0), recipe.batch, recipe.length))
        assert abs(paid / share - 1) < 0.01, f"{way}: {paid:.4f} of the budget were spent for {share}"
        self._note(way, trained)
        return trained

    def _note(self, way: str, model: torch.nn.Module) -> None:
        bits = self.recipe.bits(model, self.parts)
        self.found |= {f"{way}: {name}": bits[name] for name in NAMES}
        self.found[f"{way}: mean"] = sum(bits.values()) / len(bits)

    def _know(self, way: str, model: DecoderLM) -> None:
        tables = usage_over(model, [part.held_out_N for part in self.parts.values()], self.recipe.length)
        for label, counts_LXE in zip(("domain", "class"), tables, strict=True):
            each = [normalised_mutual_information(counts_XE) for counts_XE in counts_LXE]
            self.found[f"NMI of {label}, {way}"] = sum(each) / len(each)


def fewer(seed: int, parts: dict[str, Domain]) -> dict[str, float]:
    """Bits per byte on the first domain, of models of one to four domains."""
    recipe, base = Recipe(), 1000 * seed + 100
    first = {NAMES[0]: parts[NAMES[0]]}
    found = {}

    def bits(model: DecoderLM, text_N: Tensor, share: float) -> float:
        return recipe.bits(recipe.trained(model, text_N, share, seed=base)[0], first)[NAMES[0]]

    for count in (1, 2, 4):
        text_N = torch.cat([parts[name].train_N for name in NAMES[:count]])
        found[f"dense, {count} domains"] = bits(recipe.dense(base), text_N, ALONE)
        found[f"sparse, {count} domains"] = bits(recipe.sparse(base, inner=_half(recipe)), text_N, ALONE)
        if count > 1:
            found[f"dense, {count} domains, as many bytes of each"] = bits(recipe.dense(base), text_N, count * ALONE)
    return found
