"""Which full blocks hold which tokens, so that a prompt that starts as an earlier one did need not be computed again.

Keys and values of a token depend on all tokens before it. So a block is found by its own tokens *and* the chain of
blocks before it: a tree in which each node is one full block's tokens below its parent. A child is found only through
its parents. Partial blocks are never in it.

Unusual: vLLM looks up a hash of (parent's hash, tokens) and trusts it. Here each node keeps its children in a dict by
their tokens, which compares the tokens themselves: a crafted collision costs time, and never gives the wrong block. A
digest for tiers that outlive the process is computed only when asked for.

As in vLLM, blocks of the same content are not merged: a table is never changed under a running sequence. All are kept,
the one that came first is found, and the next one when that is gone.

Source: vLLM, docs/design/prefix_caching.md.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kb.arguments import require_count
from kb.serving.block_pool import BlockPool

Tokens = tuple[int, ...]


@dataclass(slots=True, eq=False)
class PrefixNode:
    """One full block's tokens below those of its parent; it may be on several blocks, or for a while on none.

    Args:
        parent: None for a root.
        tokens: Those of one block; none for a root.
        salt: Of a root: sequences with another salt are another tree.
        children: What was seen after it, by the tokens.
        blocks: Where it is, the block that came first in front; a dict for its order.
        attached: Whether it is still in the tree.
        known_digest: Once it was asked for.
    """

    parent: "PrefixNode | None"
    tokens: Tokens = ()
    salt: str | None = None
    children: "dict[Tokens, PrefixNode]" = field(default_factory=dict)
    blocks: dict[int, None] = field(default_factory=dict)
    attached: bool = True
    known_digest: bytes | None = None


def root_digest(salt: str | None) -> bytes:
    """SHA-256 that all chains of one salt start from."""
    # Each of the three kinds of text that are hashed here starts with another letter, so that none passes for another.
    return hashlib.sha256(b"plain" if salt is None else b"salt:" + salt.encode("utf-8", "surrogatepass")).digest()


def chained_digest(parent: bytes, tokens: Sequence[int]) -> bytes:
    """SHA-256 of a block's tokens after its parent's digest; in decimal, as no width would hold every int."""
    return hashlib.sha256(b"block" + parent + ",".join(map(str, tokens)).encode()).digest()


def require_salt(salt: object) -> None:
    """Refuse what is neither None nor a string that says something.

    Raises:
        TypeError: it is no string.
        ValueError: it is empty.
    """
    if salt is not None and not isinstance(salt, str):
        raise TypeError(f"salt must be a string or None, got {salt!r}")
    if salt == "":
        raise ValueError("salt must not be empty; None means no salt")


class PrefixCache:
    """The tree over the blocks of one pool; it forgets a block at the moment the pool hands it out again.

    Args:
        pool: Whose blocks; its ``on_evict`` is taken.
        block_size: Tokens in a full block.
        on_evict: Told ``(block, digest)`` just before the last copy of some content is given up to an allocation, while
            the block still has it. It must call neither pool nor cache. When it raises, nothing is given up.

    Raises:
        ValueError: ``block_size`` is not a positive integer.
    """

    def __init__(
        self, pool: BlockPool, block_size: int, *, on_evict: Callable[[int, bytes], None] | None = None
    ) -> None:
        require_count("block_size", block_size)
        self.pool = pool
        self.block_size = block_size
        self.on_evict = on_evict
        self.evictions = 0
        self._roots: dict[str | None, PrefixNode] = {}
        self._node_of: list[PrefixNode | None] = [None] * pool.num_blocks
        self._num_blocks = 0
        pool.on_evict = self._evict

    def __len__(self) -> int:
        """Blocks that can be found, or could if their parents were there; copies of the same content each count."""
        return self._num_blocks

    def __contains__(self, block: int) -> bool:
        return self._node_of[block] is not None

    @property
    def num_nodes(self) -> int:
        """Nodes of all trees, roots included."""
        count, todo = 0, list(self._roots.values())
        while todo:
            count += 1
            todo += todo.pop().children.values()
        return count

    def match(self, tokens: Sequence[int], limit: int, salt: str | None = None) -> tuple[list[int], PrefixNode | None]:
        """The longest chain of cached blocks that ``tokens`` start with, at most ``limit`` blocks; changes nothing.

        Returns:
            The blocks, and the node of the last one (None where there is none).
        """
        size = self.block_size
        node = self._roots.get(salt)
        blocks: list[int] = []
        last = None
        while node is not None and len(blocks) < limit:
            start = len(blocks) * size
            node = node.children.get(tuple(tokens[start : start + size]))
            if node is None or not node.blocks:
                break
            blocks.append(next(iter(node.blocks)))
            last = node
        return blocks, last

    def insert(
        self,
        tokens: Sequence[int],
        blocks: Sequence[int],
        start: int,
        stop: int,
        *,
        salt: str | None = None,
        after: PrefixNode | None = None,
    ) -> PrefixNode:
        """Make the full blocks ``start`` to ``stop`` of a sequence findable; those that are already stay so.

        Args:
            tokens: Of the sequence, from its first on, at least ``stop * block_size``.
            blocks: Of the sequence, from its first on.
            start: The first to insert.
            stop: One after the last.
            salt: Of the sequence.
            after: The node of block ``start - 1``, which saves the walk to it.

        Returns:
            The node of block ``stop - 1``.

        Raises:
            ValueError: ``start`` to ``stop`` is empty, or a block is known to hold something else; then those before
                it are inserted.
        """
        if not 0 <= start < stop:
            raise ValueError(f"start must be from 0 on and under stop, got {start} and {stop}")
        size = self.block_size
        node = after if after is not None and after.attached else self._path(tokens, start, salt)
        for i in range(start, stop):
            block, content = blocks[i], tuple(tokens[i * size : (i + 1) * size])
            held, child = self._node_of[block], node.children.get(content)
            if held is not None and held is not child:
                self._prune(node)
                raise ValueError(
                    f"block {block} holds {held.tokens} after its own prefix, not {content} after this one"
                )
            if child is None:
                child = node.children[content] = PrefixNode(node, content)
            if held is None:
                self._node_of[block] = child
                child.blocks[block] = None
                self._num_blocks += 1
            node = child
        return node

    def remove(self, block: int) -> None:
        """Forget what a block holds, if anything, and tell nobody."""
        node = self._node_of[block]
        if node is not None:
            self._node_of[block] = None
            self._num_blocks -= 1
            del node.blocks[block]
            self._prune(node)

    def reset(self) -> bool:
        """Forget everything, unless a block is referenced: then nothing. Returns whether it was done."""
        if self.pool.num_free != self.pool.num_blocks:
            return False
        for block in range(self.pool.num_blocks):
            self.remove(block)
        return True

    def digest(self, block: int) -> bytes:
        """SHA-256 of what a cached block holds and of all before it, salt included; the same in every process.

        It does not know the model. A tier that several models write to must keep them apart.

        Raises:
            ValueError: there is no such block, or it is not in the cache.
        """
        self.pool.references(block)  # refuses what is no block
        node = self._node_of[block]
        if node is None:
            raise ValueError(f"block {block} is not in the prefix cache, it has no digest")
        return self._digest(node)

    def digests(self, tokens: Sequence[int], salt: str | None = None, *, start: int = 0) -> list[bytes]:
        """What :meth:`digest` says, or would, of the full blocks of ``tokens``, from block ``start`` on."""
        size = self.block_size
        known, node = self.match(tokens, start, salt)
        digest = root_digest(salt) if node is None else self._digest(node)
        chain = []
        for i in range(len(known), len(tokens) // size):
            digest = chained_digest(digest, tokens[i * size : (i + 1) * size])
            chain.append(digest)
        return chain[start - len(known) :]

    def _digest(self, node: PrefixNode) -> bytes:
        unknown = []
        above: PrefixNode | None = node
        while above is not None and above.known_digest is None:
            unknown.append(above)
            above = above.parent
        for below in reversed(unknown):
            if below.parent is None:
                below.known_digest = root_digest(below.salt)
            else:
                assert below.parent.known_digest is not None
                below.known_digest = chained_digest(below.parent.known_digest, below.tokens)
        assert node.known_digest is not None
        return node.known_digest

    def _path(self, tokens: Sequence[int], count: int, salt: str | None) -> PrefixNode:
        """The node of block ``count`` - 1, made with all above it where it is not there; it must get a block."""
        node = self._roots.get(salt)
        if node is None:
            node = self._roots[salt] = PrefixNode(None, salt=salt)
        for i in range(count):
            content = tuple(tokens[i * self.block_size : (i + 1) * self.block_size])
            child = node.children.get(content)
            if child is None:
                child = node.children[content] = PrefixNode(node, content)
            node = child
        return node

    def _prune(self, node: PrefixNode) -> None:
        """Drop a node that is on no block and leads nowhere, then its parent for the same reason, and so on."""
        while not node.blocks and not node.children:
            node.attached = False
            if node.parent is None:
                del self._roots[node.salt]
                return
            del node.parent.children[node.tokens]
            node = node.parent

    def _evict(self, block: int) -> None:
        node = self._node_of[block]
        if node is None:
            return
        if self.on_evict is not None and len(node.blocks) == 1:
            self.on_evict(block, self._digest(node))
        self.remove(block)
        self.evictions += 1
