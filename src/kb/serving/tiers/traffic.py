"""What went through each tier: pages found and missed, bytes, seconds, and the bandwidth that follows."""

from dataclasses import dataclass, field, fields


@dataclass
class TierTraffic:
    """Counts of one tier since it was made.

    Times are those of the thread that moved the bytes: where two read at once they add up, and the bandwidth is what
    each of them saw. The bandwidth of both together is bytes by the caller's clock.

    Args:
        hits: Pages that were asked for and found here.
        misses: Pages that were asked for and not found here.
        failures: Pages that could not be written, or were not right when they were read.
        read_bytes: Bytes of pages read from here.
        read_seconds: Spent on that, checks included.
        written_bytes: Bytes of pages written to here.
        written_seconds: Spent on that.
    """

    hits: int = 0
    misses: int = 0
    failures: int = 0
    read_bytes: int = 0
    read_seconds: float = 0.0
    written_bytes: int = 0
    written_seconds: float = 0.0

    @property
    def read_bandwidth(self) -> float:
        """Bytes a second; 0 where nothing was read."""
        return self.read_bytes / self.read_seconds if self.read_seconds else 0.0

    @property
    def write_bandwidth(self) -> float:
        """Bytes a second; 0 where nothing was written."""
        return self.written_bytes / self.written_seconds if self.written_seconds else 0.0

    def read(self, nbytes: int, seconds: float) -> None:
        """Count one page that was read."""
        self.hits += 1
        self.read_bytes += nbytes
        self.read_seconds += seconds

    def wrote(self, nbytes: int, seconds: float) -> None:
        """Count one page that was written."""
        self.written_bytes += nbytes
        self.written_seconds += seconds

    def since(self, before: "TierTraffic") -> "TierTraffic":
        """What has come on top of an earlier count."""
        names = [field.name for field in fields(self)]
        return TierTraffic(**{name: getattr(self, name) - getattr(before, name) for name in names})


@dataclass
class Traffic:
    """All tiers together. What was found on the device moved no bytes; a miss on disk was found nowhere."""

    device: TierTraffic = field(default_factory=TierTraffic)
    host: TierTraffic = field(default_factory=TierTraffic)
    disk: TierTraffic = field(default_factory=TierTraffic)

    def since(self, before: "Traffic") -> "Traffic":
        """What has come on top of an earlier count; ``traffic.since(Traffic())`` is a copy."""
        return Traffic(self.device.since(before.device), self.host.since(before.host), self.disk.since(before.disk))
