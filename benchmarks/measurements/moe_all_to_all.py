"""Exchanges of rows between processes of one machine, and layers whose experts are spread over them, by ``kb.moe``.

Processes of one machine exchange over the loopback, by copies that its cores make: nothing can hide behind computation
that needs the same cores. What overlap is worth where a network carries the rows is measured with a link that takes
time and no cores. Four processes on two cores take turns, so that their times say little of four machines.
"""

import statistics

import torch

from benchmarks.measurement import Measurement, Samples
from kb.moe import RouterConfig
from kb.moe.parallel import Ranks, cost, timings

DEVICES = ("cpu",)
WIDTH, INNER, TOKENS, EXPERTS, TOP_K = 256, 512, 1024, 8, 2
ROWS = (64, 256, 1024, 4096, 16_384, 65_536)  # that a rank holds for all ranks, of 1 KB each
FITTED = (0, 2, 4)  # of these sizes; the others are foretold
REPEATS, LAYER_REPEATS = 21, 9
CHUNKS = (1, 2, 4)
SLOW = cost.Link(latency=1e-3, bandwidth=40e6)
LARGEST_OVERLAP = 0.95  # time with two chunks over the slow link, to that with one


def measure(device: torch.device) -> Measurement:
    """Assert that larger exchanges take longer, and that chunks are worth their while over a link that is slow."""
    samples: dict[str, Samples] = {}
    foretold = {}
    for number in (2, 4):
        with Ranks(number) as ranks:
            hops = {"": None} if number == 2 else {"": None, ", two hops": 2}
            for name, node_size in hops.items():
                taken = ranks.call(timings.time_exchanges, ROWS, WIDTH, REPEATS, node_size)[0]
                for rows, seconds in zip(ROWS, taken, strict=True):
                    samples[f"{number} ranks{name}, {rows} rows"] = _milliseconds(seconds)
            foretold[f"{number} ranks"] = _foretold(samples, number)
            samples |= _layers(ranks)
    foretold["4 ranks by the link of 2"] = _foretold(samples, 4, 2)
    check(samples)
    return Measurement(
        title=f"Exchanges of rows of {4 * WIDTH} bytes and MoE layers on 2 and 4 processes of one machine, float32",
        method=f"gloo over the loopback, one thread a process; from a barrier to the slowest rank's end; {REPEATS} "
        f"exchanges and {LAYER_REPEATS} layers forwards and backwards of each kind, in turn",
        samples=samples,
        ratios={
            f"{name}: {chunks} chunks / 1": (f"{name}, {chunks} chunks", f"{name}, 1 chunks")
            for name in _names()
            for chunks in CHUNKS[1:]
        }
        | {
            f"two hops / one, {rows} rows": (f"4 ranks, two hops, {rows} rows", f"4 ranks, {rows} rows")
            for rows in ROWS
        },
        facts={
            "layer": f"{TOKENS} tokens a rank, width {WIDTH}, {EXPERTS} experts and one shared of {INNER}, top {TOP_K}",
            "slow link": {"us a message": 1e6 * SLOW.latency, "MB/s": SLOW.bandwidth / 1e6},
            "row bytes": 4 * WIDTH,
            "rows": list(ROWS),
            "rows of the fit": [ROWS[i] for i in FITTED],
            "model": foretold,
        },
    )


def _milliseconds(seconds: list[float]) -> Samples:
    return Samples("ms", [round(1e3 * second, 6) for second in seconds])


def _names() -> list[str]:
    return [f"{number} ranks, layer{link}" for number in (2, 4) for link in ("", " over the slow link")]


def _layers(ranks: Ranks) -> dict[str, Samples]:
    found = {}
    for name, link in (("", None), (" over the slow link", SLOW)):
        taken = ranks.call(
            timings.time_layers,
            TOKENS,
            WIDTH,
            INNER,
            RouterConfig(EXPERTS, TOP_K),
            LAYER_REPEATS,
            overlaps=CHUNKS,
            shared_inner=INNER,
            link=link,
        )[0]
        for chunks, seconds in taken.items():
            found[f"{len(ranks)} ranks, layer{name}, {chunks} chunks"] = _milliseconds(seconds)
    return found


def _foretold(samples: dict[str, Samples], number: int, by: int | None = None) -> dict[str, object]:
    """The link fitted to some sizes, and its relative error on the others; of another number of ranks' link on all."""

    def medians(ranks: int) -> list[float]:
        return [statistics.median(samples[f"{ranks} ranks, {rows} rows"].values) / 1e3 for rows in ROWS]

    def leaving(ranks: int) -> list[float]:
        return [rows * (ranks - 1) / ranks * 4 * WIDTH for rows in ROWS]

    source = by or number
    times, sizes = medians(source), leaving(source)
    link = cost.fit_link([source - 1] * len(FITTED), [sizes[i] for i in FITTED], [times[i] for i in FITTED])
    judged = range(len(ROWS)) if by else [i for i in range(len(ROWS)) if i not in FITTED]
    times, sizes = medians(number), leaving(number)
    errors = {str(ROWS[i]): round(link.seconds(number - 1, sizes[i]) / times[i] - 1, 3) for i in judged}
    return {
        "us a message": round(1e6 * link.latency, 1),
        "GB/s": round(link.bandwidth / 1e9, 3),
        "relative error by rows": errors,
    }


def check(samples: dict[str, Samples]) -> None:
    """Assert that time grows with size, and that two chunks are faster than one over the slow link of two ranks."""
    medians = {name: statistics.median(series.values) for name, series in samples.items()}
    for number in (2, 4):
        small, large = (medians[f"{number} ranks, {rows} rows"] for rows in (ROWS[0], ROWS[-1]))
        assert small < large, f"{number} ranks: {ROWS[0]} rows take {small:.2f} ms, {ROWS[-1]} rows {large:.2f} ms"
    one, two = (medians[f"2 ranks, layer over the slow link, {chunks} chunks"] for chunks in (1, 2))
    assert two <= LARGEST_OVERLAP * one, f"over the slow link two chunks take {two:.1f} ms, one takes {one:.1f} ms"
