"""What an exchange between ranks costs, and what the experts' arithmetic costs beside it: a model on paper.

A message takes a latency, and its bytes a bandwidth. Of the K copies of a token that evenly chosen experts ask for, the
share (R - 1) / R leaves the rank. Where a token is sent to a node once, and copied to its experts' ranks there, what
crosses between nodes is one row for each node that it chose, not one for each expert.

Source: DeepSeek-V3, section 3.2.2 (a token once to each of at most M nodes).
Units: bytes, seconds, operations (a multiplication and an addition are two).
Letters: R ranks, N nodes, G ranks of a node (R = N G), T tokens of a rank, K experts of a token among E, M most nodes
of a token, D width, F inner width of an expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from kb.arguments import is_number, require_count


@dataclass(frozen=True)
class Link:
    """What carries messages from one rank to others.

    Args:
        latency: Seconds a message.
        bandwidth: Bytes a second that one rank sends.

    Raises:
        ValueError: a number is out of its range.
    """

    latency: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not (is_number(self.latency) and self.latency >= 0 and is_number(self.bandwidth) and self.bandwidth > 0):
            raise ValueError(f"latency must be at least 0 and bandwidth positive, got {self.latency}, {self.bandwidth}")

    def seconds(self, messages: float, size: float) -> float:
        """Of so many messages, of so many bytes together."""
        return self.latency * messages + size / self.bandwidth


@dataclass(frozen=True)
class Layout:
    """Ranks in nodes, E experts in equal shares on them, K for a token, from at most M nodes.

    Args:
        ranks: R.
        node_size: G.
        experts: E.
        top_k: K.
        most_nodes: M; None for all nodes.

    Raises:
        ValueError: a number is no positive integer, or they do not divide or fit each other.
    """

    ranks: int
    node_size: int
    experts: int
    top_k: int
    most_nodes: int | None = None

    def __post_init__(self) -> None:
        for name in ("ranks", "node_size", "experts", "top_k"):
            require_count(name, getattr(self, name))
        if self.most_nodes is not None:
            require_count("most_nodes", self.most_nodes)
        if self.ranks % self.node_size or self.experts % self.nodes:
            raise ValueError(
                f"node_size {self.node_size} must divide ranks {self.ranks}, and the nodes experts {self.experts}"
            )
        if self.top_k > self.limit * self.experts // self.nodes:
            raise ValueError(f"top_k {self.top_k} is more than the experts of {self.limit} nodes")

    @property
    def nodes(self) -> int:
        """N."""
        return self.ranks // self.node_size

    @property
    def limit(self) -> int:
        """M, and N where there is no limit or fewer nodes."""
        return self.nodes if self.most_nodes is None else min(self.most_nodes, self.nodes)

    def nodes_of_a_token(self) -> float:
        """How many nodes a token's experts lie in, on average, when it chooses evenly among those of M nodes."""
        on_a_node = self.experts // self.nodes
        allowed = self.limit * on_a_node
        return self.limit * (1 - comb(allowed - on_a_node, self.top_k) / comb(allowed, self.top_k))


@dataclass(frozen=True)
class Traffic:
    """What one rank sends for one token, in rows [D]; and how many messages it sends for all its tokens.

    Args:
        within: Rows to other ranks of the node.
        across: Rows to other nodes.
        messages_within: To ranks of the node.
        messages_across: To ranks of other nodes.
    """

    within: float
    across: float
    messages_within: int
    messages_across: int


def flat(layout: Layout) -> Traffic:
    """Every copy straight to its rank: R - 1 messages."""
    R, G, K = layout.ranks, layout.node_size, layout.top_k
    return Traffic(K * (G - 1) / R, K * (R - G) / R, G - 1, R - G)


def two_hops(layout: Layout) -> Traffic:
    """Every copy first to the rank of its own node with the destination's number: G - 1 + N - 1 messages."""
    N, G, K = layout.nodes, layout.node_size, layout.top_k
    return Traffic(K * (G - 1) / G, K * (N - 1) / N, G - 1, N - 1)


def once_a_node(layout: Layout) -> Traffic:
    """A token once to each node that it chose, to the rank of its own number there, which hands out the copies."""
    N, G, K = layout.nodes, layout.node_size, layout.top_k
    return Traffic(K * (G - 1) / G, layout.nodes_of_a_token() * (N - 1) / N, G - 1, N - 1)


def exchange_seconds(
    traffic: Traffic, tokens: int, row_bytes: float, within: Link, across: Link, *, beside: bool = False
) -> float:
    """Of one exchange.

    Args:
        traffic: Of one token, and the messages of all.
        tokens: T.
        row_bytes: D times the bytes of an element.
        within: Between ranks of a node.
        across: Between nodes.
        beside: Whether both kinds of links work at the same time; else one after the other.
    """
    both = (
        within.seconds(traffic.messages_within, tokens * traffic.within * row_bytes),
        across.seconds(traffic.messages_across, tokens * traffic.across * row_bytes),
    )
    return max(both) if beside else sum(both)


def expert_operations(tokens: float, top_k: int, width: int, inner: int) -> float:
    """Of SwiGLU experts forwards: three products of 2 D F operations for each row; backwards it is twice that."""
    return 6.0 * tokens * top_k * width * inner


def fit_link(messages: Sequence[float], sizes: Sequence[float], seconds: Sequence[float]) -> Link:
    """The latency and bandwidth that explain measured times best, in squares of the relative error.

    Raises:
        ValueError: there are fewer than two times, they do not tell latency and bandwidth apart, or the best are not
            positive.
    """
    if not len(messages) == len(sizes) == len(seconds) >= 2 or min(seconds) <= 0:
        raise ValueError("wanted as many messages and sizes as times, two at least, all positive")
    # Relative errors: each equation m a + s b = t divided by t.
    rows = [(m / t, s / t) for m, s, t in zip(messages, sizes, seconds, strict=True)]
    mm, ss, ms = (sum(a * b for a, b in pairs) for pairs in _products(rows))
    m1, s1 = sum(m for m, _ in rows), sum(s for _, s in rows)
    determinant = mm * ss - ms * ms
    if determinant <= 1e-12 * mm * ss:
        raise ValueError("messages and sizes are proportional, so latency and bandwidth cannot be told apart")
    latency, per_byte = (m1 * ss - s1 * ms) / determinant, (s1 * mm - m1 * ms) / determinant
    if latency < 0 or per_byte <= 0:
        raise ValueError(f"the times fit no link: {latency:.3g} s a message, {per_byte:.3g} s a byte")
    return Link(latency, 1 / per_byte)


def _products(rows: list[tuple[float, float]]) -> tuple[list[tuple[float, float]], ...]:
    return [(m, m) for m, _ in rows], [(s, s) for _, s in rows], rows
