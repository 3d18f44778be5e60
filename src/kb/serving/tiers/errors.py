"""What a tier says when it cannot keep its word; wrong arguments are a ValueError or TypeError as everywhere."""


class TierError(RuntimeError):
    """A tier is in use, stuck or broken; the message says which and what to do."""


class PageLostError(TierError):
    """A page that is needed cannot be had any more (altered, truncated, deleted): its tokens must be computed again."""
