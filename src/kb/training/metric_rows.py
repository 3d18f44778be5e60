"""What each step of a training measured, one tensor a metric and one row a step.

Unusual: a small tensor kept at each step would do, but on a CPU it costs far more than its size. It is cut out of a
large block that the step has just given back to malloc, which is then too short for the next step's: a process of
glibc's grew by megabytes a step. Here all rows are allocated at the first step, and a row becomes a tensor on demand.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor


class MetricRows:
    """Rows for the metrics of a number of steps.

    Args:
        steps: How many.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._columns: dict[str, Tensor] = {}

    def write(self, number: int, metrics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Keep the values of a step, without gradients; what has not the shape of its first time is kept apart."""
        apart = {}
        for name, tensor in metrics.items():
            if name not in self._columns:
                self._columns[name] = tensor.new_empty((self._steps, *tensor.shape), requires_grad=False)
            column = self._columns[name]
            if (column.shape[1:], column.dtype, column.device) == (tensor.shape, tensor.dtype, tensor.device):
                column[number] = tensor.detach()
            else:
                apart[name] = tensor.detach()
        return _Row(self._columns, number, tuple(metrics), apart)


class _Row(Mapping[str, Tensor]):
    def __init__(
        self, columns: Mapping[str, Tensor], number: int, names: tuple[str, ...], apart: Mapping[str, Tensor]
    ) -> None:
        self._columns, self._number, self._names, self._apart = columns, number, names, apart

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._apart[name] if name in self._apart else self._columns[name][self._number]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))
