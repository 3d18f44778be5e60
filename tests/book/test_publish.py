"""The set-up cell and publishing: what the cell does where, and what the published copies carry."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from book import notebooks, publish, setup_cell

WEB = "https://example.org/owner/repo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run_cell(source: str, folder: Path, *prelude: str) -> subprocess.CompletedProcess[str]:
    """Run a cell in ``folder`` in a process that cannot see ``kb``: no site packages, no current folder."""
    script = folder / "cell.py"
    script.write_text("\n".join([*prelude, source]), encoding="utf-8")
    return subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, cwd=folder)


def test_setup_cell_is_short_and_plain():
    lines = setup_cell.text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120
    assert not any(line.lstrip().startswith(("!", "%")) for line in lines)


def test_setup_cell_does_nothing_where_kb_is_installed(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("the cell ran a command"))
    exec(setup_cell.text(WEB, COMMIT), {})


def test_unpublished_setup_cell_says_in_one_sentence_what_to_do(tmp_path):
    done = run_cell(setup_cell.text(), tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "pip install -e ." in last
    assert "published page" in last


def fake_install(folder: Path, name: str, metadata: str) -> None:
    info = folder / f"{name}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(metadata, encoding="utf-8")


def test_constraints_name_what_is_installed_once_and_skip_what_pip_cannot_read(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    fake_install(first, "torch-2.13.0", "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0+cpu\n")
    fake_install(first, "Some_Thing-1.0", "Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0rc1\n")
    fake_install(second, "some.thing-0.9", "Metadata-Version: 2.1\nName: some.thing\nVersion: 0.9\n")
    fake_install(second, "odd-1", "Metadata-Version: 2.1\nName: odd\nVersion: 1.0-foo-bar\n")
    fake_install(second, "~orch-1", "Metadata-Version: 2.1\nName: ~orch\nVersion: 1.0\n")
    fake_install(second, "empty-1", "")
    record = tmp_path / "record.json"
    prelude = (
        "import json, pathlib, subprocess, sys",
        f"sys.path += [{str(first)!r}, {str(second)!r}]",
        "def record(command, **_):",
        "    if command[0] == 'git':",
        "        return subprocess.CompletedProcess(command, 0, '')",
        "    text = pathlib.Path(command[command.index('--constraint') + 1]).read_text()",
        f"    pathlib.Path({str(record)!r}).write_text(json.dumps([command, text]))",
        "    return subprocess.CompletedProcess(command, 0, 'fine')",
        "subprocess.run = record",
    )
    done = run_cell(setup_cell.text(WEB, COMMIT), tmp_path, *prelude)
    assert done.returncode == 0, done.stderr
    command, constraints = json.loads(record.read_text())
    assert sorted(constraints.splitlines()) == ["some-thing==1.0rc1", "torch==2.13.0+cpu"]
    assert command[-1].endswith("kb[pages]")


def test_a_failed_install_prints_why(tmp_path):
    prelude = (
        "import subprocess",
        "subprocess.run = lambda command, **_: subprocess.CompletedProcess(command, 1, 'no such host')",
    )
    done = run_cell(setup_cell.text(WEB, COMMIT), tmp_path, *prelude)
    assert "no such host" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: kb could not be installed")


def test_a_path_becomes_a_file_address(tmp_path):
    assert f'ADDRESS = "{tmp_path.as_uri()}"' in setup_cell.text(str(tmp_path), COMMIT)


@pytest.mark.parametrize(
    ("address", "revision", "named"),
    [(WEB, None, "revision"), (None, COMMIT, "address"), ('https://a"b', COMMIT, "address"), (WEB, "a b", "revision")],
)
def test_setup_cell_refuses_what_would_break_it(address, revision, named):
    with pytest.raises(ValueError, match=named):
        setup_cell.text(address, revision)


@pytest.mark.parametrize(
    ("remote", "wanted"),
    [
        ("git@example.org:owner/repo.git", WEB),
        ("example.org:owner/repo.git", WEB),
        ("ssh://git@example.org:2222/owner/repo.git", WEB),
        ("https://user:secret@example.org/owner/repo.git/", WEB),
        ("https://example.org:8443/owner/repo", "https://example.org:8443/owner/repo"),
        (f"{WEB}\n", WEB),
        ("file:///srv/repo", "file:///srv/repo"),
        ("/srv/repo", "/srv/repo"),
    ],
)
def test_web_address(remote, wanted):
    assert publish.web_address(remote) == wanted


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit and a bare remote that is not its origin."""
    root, bare = tmp_path / "repo", tmp_path / "bare"
    for key, value in (("NAME", "Test"), ("EMAIL", "test@example.org")):
        monkeypatch.setenv(f"GIT_AUTHOR_{key}", value)
        monkeypatch.setenv(f"GIT_COMMITTER_{key}", value)
    monkeypatch.delenv("REPOSITORY", raising=False)
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / ".gitignore").write_text("_build\n")
    publish.git("add", ".", root=root)
    publish.git("commit", "-qm", "First", root=root)
    return root, bare


def test_address_comes_from_the_variable_then_from_origin_then_is_unknown(repository, monkeypatch):
    root, bare = repository
    assert publish.address(root) == ""
    publish.git("remote", "add", "origin", str(bare), root=root)
    assert publish.address(root) == ""
    publish.git("remote", "set-url", "origin", "git@example.org:owner/repo.git", root=root)
    assert publish.address(root) == WEB
    monkeypatch.setenv("REPOSITORY", "https://example.org/other/one.git")
    assert publish.address(root) == "https://example.org/other/one"


@pytest.fixture
def built(tmp_path):
    """A built site of one notebook, whose committed original lies beside it."""
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Page", id="a"),
            nbformat.v4.new_code_cell(setup_cell.text(), id="b"),
            nbformat.v4.new_code_cell("ADDRESS = 1", id="c"),
        ]
    )
    site = tmp_path / "repo" / "_build" / "html"
    page = site / publish.SOURCES / "chapters" / "page.ipynb"
    page.parent.mkdir(parents=True)
    (site / "index.html").write_text("<p>home")
    notebooks.write(page, nb)
    return site, page


def test_published_notebook_carries_the_address_and_only_that_changes(built):
    site, page = built
    before = notebooks.read(page)
    assert publish.prepare(site, WEB, COMMIT) == 1
    after = notebooks.read(page)
    assert after.cells[1].source == setup_cell.text(WEB, COMMIT)
    after.cells[1].source = setup_cell.text()
    assert after == before
    assert (site / ".nojekyll").exists()


def test_publishing_again_replaces_the_address_and_is_otherwise_idempotent(built):
    site, page = built
    publish.prepare(site, WEB, COMMIT)
    once = page.read_bytes()
    publish.prepare(site, WEB, COMMIT)
    assert page.read_bytes() == once
    publish.prepare(site, "https://example.org/new", COMMIT)
    assert notebooks.read(page).cells[1].source == setup_cell.text("https://example.org/new", COMMIT)


def test_publishing_says_what_is_missing(built):
    site, page = built
    with pytest.raises(publish.CannotPublish, match="REPOSITORY="):
        publish.prepare(site, "", COMMIT)
    nb = notebooks.read(page)
    nb.cells[1].source += "\n# changed"
    notebooks.write(page, nb)
    with pytest.raises(publish.CannotPublish, match=r"page\.ipynb has 0 set-up cells"):
        publish.prepare(site, WEB, COMMIT)
    (site / "index.html").unlink()
    with pytest.raises(publish.CannotPublish, match="make book"):
        publish.prepare(site, WEB, COMMIT)


def test_an_address_that_cannot_stand_in_a_cell_is_one_sentence(built):
    with pytest.raises(publish.CannotPublish, match="holds white space"):
        publish.prepare(built[0], "https://example.org/a b", COMMIT)


def test_without_git_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(publish.CannotPublish, match="git was not found"):
        publish.git("status")


def test_no_address_is_one_sentence_and_exit_2(built, monkeypatch, capsys):
    monkeypatch.setattr(publish, "SITE", built[0])
    monkeypatch.setattr(publish, "address", lambda: "")
    assert publish.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("cannot publish: no repository address is known")
    assert said.count("\n") == 1


def test_push_makes_the_site_the_only_commit_of_the_branch(built, repository):
    (site, _), (root, bare) = built, repository
    publish.git("remote", "add", "origin", str(bare), root=root)
    head = publish.git("rev-parse", "HEAD", root=root)
    with pytest.raises(publish.CannotPublish, match="push it first"):
        publish.push(site, head, root)
    publish.git("push", "--quiet", "origin", "HEAD:refs/heads/main", root=root)
    for _ in range(2):
        publish.prepare(site, WEB, COMMIT)
        publish.push(site, head, root)
        files = publish.git("ls-tree", "-r", "--name-only", publish.BRANCH, root=bare).splitlines()
        assert files == [".nojekyll", "_sources/chapters/page.ipynb", "index.html"]
        assert publish.git("rev-list", "--count", publish.BRANCH, root=bare) == "1"
    assert publish.git("rev-parse", "HEAD", root=root) == head
    assert publish.git("status", "--porcelain", root=root) == ""
    (root / "loose.txt").write_text("not committed")
    with pytest.raises(publish.CannotPublish, match="uncommitted"):
        publish.push(site, head, root)
