"""The home page's example runs as it stands there and prints what stands there."""

import contextlib
import io
import re

from book.notebooks import ROOT


def test_the_example_on_the_home_page_is_true():
    text = (ROOT / "index.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "index.md", "exec"), {})
    assert "assert" in code
    assert printed.getvalue() == shown
