"""Pages of keys and values on the device, in host memory and on disk, and exact attention over all of them."""

from kb.serving.tiers.bandwidth import DiskBandwidth, measure_disk_bandwidth
from kb.serving.tiers.disk import DiskTier
from kb.serving.tiers.errors import PageLostError, TierError
from kb.serving.tiers.host import HostTier, page_bytes
from kb.serving.tiers.online_softmax import (
    Partial,
    attention_in_two_passes,
    merge,
    partial_attention,
    streamed_attention_loop,
)
from kb.serving.tiers.store import TieredStore
from kb.serving.tiers.streaming import TieredKVCache
from kb.serving.tiers.tiered_layer import TieredLayer
from kb.serving.tiers.tiered_memory import TieredMemory
from kb.serving.tiers.traffic import TierTraffic, Traffic

__all__ = [
    "DiskBandwidth",
    "DiskTier",
    "HostTier",
    "PageLostError",
    "Partial",
    "TierError",
    "TierTraffic",
    "TieredKVCache",
    "TieredLayer",
    "TieredMemory",
    "TieredStore",
    "Traffic",
    "attention_in_two_passes",
    "measure_disk_bandwidth",
    "merge",
    "page_bytes",
    "partial_attention",
    "streamed_attention_loop",
]
