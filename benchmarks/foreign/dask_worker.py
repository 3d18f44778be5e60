"""LightGBM's own distributed training, in dask's environment: ``python -m benchmarks.foreign.dask_worker``.

It holds a table and, on a local cluster, the same table in one share of the rows for each process; it fits to either on
request. What travels between the processes is read from the system's counter of the loopback device.
"""

import importlib
import importlib.metadata
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.foreign.protocol import serve

_NAMES = ("lightgbm", "dask", "distributed")


class Held:
    """The methods of the worker; ``load`` comes first."""

    def load(self, rows: int, judged: int, features: int, steps: int, processes: int) -> dict[str, Any]:
        """Make the table and the cluster; returns versions and how many parts of ``X`` and ``y`` each process holds.

        Args:
            rows: To learn from.
            judged: Rows to be judged by.
            features: Columns of random numbers.
            steps: How many steps of the columns' values make 1, so that each value comes often; 0 for numbers that come
                once each.
            processes: Of the cluster, with one thread each.
        """
        numpy: Any = importlib.import_module("numpy")
        distributed: Any = importlib.import_module("distributed")
        array: Any = importlib.import_module("dask.array")
        generator = numpy.random.default_rng(0)
        X = generator.standard_normal((rows + judged, features))
        if steps:
            X = numpy.clip(numpy.rint(X * steps), -2 * steps, 2 * steps) / steps
        # No product of two columns: which tree is the first to find one is chance, and moves the error by percents.
        learned = 2 * X[:, 0] + numpy.sin(3 * X[:, 1]) + numpy.abs(X[:, 2]) * X[:, 3]
        y = learned + generator.standard_normal(len(X))
        self.learned, self.judged = (X[:rows], y[:rows]), (X[rows:], y[rows:])
        self.close()
        self.cluster = distributed.LocalCluster(n_workers=processes, threads_per_worker=1, dashboard_address=None)
        self.client = distributed.Client(self.cluster)
        share = -(-rows // processes)
        self.shares = self.client.persist(
            [array.from_array(part, chunks=(share, *part.shape[1:])) for part in self.learned]
        )
        distributed.wait(self.shares)
        self.client.rebalance()
        versions = {name: importlib.metadata.version(name) for name in _NAMES}
        parts = [len(keys) for keys in self.client.has_what().values()]
        return {"versions": {"python": platform.python_version(), **versions}, "parts": parts}

    def fit(self, distributed: bool, options: dict[str, Any]) -> dict[str, Any]:
        """Fit in the cluster's processes, or in this one; returns seconds, bytes that travelled, RMSE and the model.

        Args:
            distributed: Whether in the cluster.
            options: Arguments of the regressor.
        """
        lightgbm: Any = importlib.import_module("lightgbm")
        before, start = _travelled(), time.perf_counter()
        if distributed:
            made = lightgbm.DaskLGBMRegressor(client=self.client, **options).fit(*self.shares)
        else:
            made = lightgbm.LGBMRegressor(**options).fit(*self.learned)
        seconds = time.perf_counter() - start
        travelled = _travelled() - before
        local = made.to_local() if distributed else made
        X, y = self.judged
        error = float(((local.predict(X) - y) ** 2).mean() ** 0.5)
        return {"seconds": seconds, "bytes": travelled, "rmse": error, "model": local.booster_.model_to_string()}

    def close(self) -> None:
        """End the cluster, if there is one."""
        if hasattr(self, "client"):
            self.client.close()
            self.cluster.close()


def _travelled() -> int:
    """Bytes that went over the loopback device since the system started."""
    for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    raise OSError("the system has no loopback device named lo")


if __name__ == "__main__":
    held = Held()
    serve({method.__name__: method for method in (held.load, held.fit, held.close)})
