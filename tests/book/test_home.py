"""The example of the home page and of the README runs as it stands there and prints what stands there."""

import contextlib
import io
import re

from book.notebooks import ROOT


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_example_is_true_on_the_home_page_and_in_the_readme() -> None:
    (code,), (shown,) = blocks("index.md", "python"), blocks("index.md", "text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "index.md", "exec"), {})
    assert "assert" in code
    assert printed.getvalue() == shown
    assert blocks("README.md", "python")[0] == code + "".join(f"# {line}\n" for line in shown.splitlines())


def test_the_other_examples_of_the_readme_print_what_stands_under_them() -> None:
    for code in blocks("README.md", "python")[1:]:  # the first is that of the home page, run above
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), {})
        shown = re.findall(r"^# (.*\n)", code, re.MULTILINE)
        assert shown
        assert printed.getvalue() == "".join(shown)


def test_the_readme_lists_the_make_targets() -> None:
    targets = re.findall(r"^([a-z]+):.*?## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    listed = re.findall(r"^\| `make ([a-z]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(set(targets) - {"help", "env"})
