"""Fitted estimators in files: JSON for this package, LightGBM's text for LightGBM.

The JSON is one object: ``format`` is "kb.gbdt", ``version`` is 1, ``model`` is the document that
:mod:`kb.gbdt.files.document` describes, and ``sha256`` the digest of its canonical form: keys sorted, no spaces, ASCII.
A file may be laid out anew, but not altered. Files are written beside their place and moved there, so that there is
either the old file or the new one. Unlike with pickle, reading one runs no code.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NoReturn, Self

from sklearn.utils.validation import check_is_fitted

from kb.gbdt.files import document, lightgbm_text
from kb.whole_file import write_whole

FORMAT, VERSION = "kb.gbdt", 1


class Saving:
    """The part of an estimator that writes and reads files."""

    def to_json(self) -> str:
        """The fitted estimator as text.

        Raises:
            TypeError: a parameter cannot be saved, as a loss of one's own or a generator of random numbers.
        """
        check_is_fitted(self)
        model = document.to_document(self)
        content = {"format": FORMAT, "version": VERSION, "sha256": _digest(model), "model": model}
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The estimator of such a text; it predicts the same bytes.

        Raises:
            ValueError: the text is not whole, was altered, or holds another class or what none can have.
            TypeError: it is no text.
        """
        if not isinstance(text, str | bytes):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        try:
            found: Self = document.from_document(_checked_model(text), cls)
        except RecursionError as error:
            raise ValueError("text must be the JSON of a model, and is nested too deep") from error
        return found

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Write what :meth:`to_json` gives to a file; a file that is there is replaced as a whole."""
        write_whole(Path(path), self.to_json().encode())

    @classmethod
    def load_model(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator in a file of :meth:`save_model`.

        Raises:
            OSError: there is no such file.
            ValueError: as of :meth:`from_json`; the message begins with the path.
        """
        try:
            return cls.from_json(Path(path).read_bytes().decode())
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error

    def to_lightgbm_text(self) -> str:
        """The trees in LightGBM's text form: ``lightgbm.Booster(model_str=...)`` predicts the same.

        Raises:
            ValueError: a category is too large for LightGBM's sets of bits.
            TypeError: a frame's categories are neither numbers nor strings.
        """
        check_is_fitted(self)
        return lightgbm_text.to_text(self)

    def save_lightgbm(self, path: str | os.PathLike[str]) -> None:
        """Write what :meth:`to_lightgbm_text` gives to a file, for ``lightgbm.Booster(model_file=path)``."""
        write_whole(Path(path), self.to_lightgbm_text().encode())


def _checked_model(text: str) -> dict[str, Any]:
    """The document in a text, if that is whole and was not altered."""
    try:
        content = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise ValueError(f"text must be the JSON of a model, and is not whole: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"text must be a JSON object whose format is {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(f"text must have version {VERSION}, got {content.get('version')!r}")
    model = content.get("model")
    if not isinstance(model, dict) or content.get("sha256") != _digest(model):
        raise ValueError("text was altered: the model does not have the digest in 'sha256'")
    return model


def _digest(model: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(model, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
