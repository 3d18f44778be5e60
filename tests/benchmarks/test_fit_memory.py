"""Memory of a fit: what an estimator holds for a moment is seen, and the table is not counted."""

import numpy as np
import pytest

from benchmarks import fit_memory
from benchmarks.foreign import fit_worker
from benchmarks.measurement import Samples
from benchmarks.measurements import gbdt_dask

MIB = 2**20


class Holder:
    """An estimator that needs so many MiB, for a moment."""

    def __init__(self, mebibytes: int) -> None:
        self.mebibytes = mebibytes

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        np.ones(self.mebibytes * MIB, np.uint8).sum()


@pytest.mark.parametrize("mebibytes", [64, 192])
def test_what_is_held_for_a_moment_is_seen(mebibytes: int) -> None:
    told = fit_worker.fit(f"{__name__}:Holder", {"mebibytes": mebibytes}, 200_000, "float32", 2)
    assert told["data"] == 200_000 * (28 * 4 + 8)
    assert mebibytes - 4 < (told["most"] - told["before"]) / MIB < mebibytes + 16
    assert told["seconds"] > 0


def test_a_table_of_several_chunks_is_whole_and_has_the_target_that_is_said() -> None:
    X, y = fit_worker.table(fit_worker.CHUNK + 5, "float64")
    assert X.shape == (fit_worker.CHUNK + 5, 28)
    assert np.isfinite(X).all()
    noise = y - (2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3])
    assert abs(noise.std() - 1) < 0.02
    np.testing.assert_allclose(fit_worker.table(100, "float32")[0], fit_worker.table(100, "float64")[0], rtol=1e-6)


def test_a_fit_of_ours_runs_in_a_process_of_its_own() -> None:
    taken = fit_memory.fit("kb.gbdt", 30_000, 2)
    assert taken.data == pytest.approx(30_000 * 29 * 8 / MIB)
    assert 30_000 * 28 / MIB < taken.beyond < 512  # more than its bins
    with pytest.raises(ValueError, match=r"name must be one of kb\.gbdt, LightGBM, scikit-learn, got 'xgboost'"):
        fit_memory.fit("xgboost", 10, 1)


def test_a_field_that_the_system_does_not_report_is_named() -> None:
    assert 0 < fit_worker.held("VmRSS") <= fit_worker.held("VmHWM")
    with pytest.raises(ValueError, match="got 'VmNothing'"):
        fit_worker.held("VmNothing")


def dask_samples(sent: float, cluster_rmse: float) -> dict[str, Samples]:
    found = {}
    for table, megabytes in (("numbers", sent), ("few values", 108.9)):
        found[f"{table}: sent"] = Samples("MB", [megabytes])
        found[f"{table}: cluster RMSE"] = Samples("RMSE", [cluster_rmse])
        found[f"{table}: one process RMSE"] = Samples("RMSE", [1.0])
    return found


def test_what_dask_sends_is_held_against_the_formula() -> None:
    gbdt_dask.check(dask_samples(342.7, 1.005))
    with pytest.raises(AssertionError, match=r"numbers: 100\.0 MB were sent, by formula 342\.7 MB"):
        gbdt_dask.check(dask_samples(100.0, 1.01))
    with pytest.raises(AssertionError, match="RMSE is too large"):
        gbdt_dask.check(dask_samples(342.7, 1.2))
