"""``make publish``: make the built site ready for GitHub Pages, and with ``PUSH=1`` put it there.

Published notebooks, the copies under ``_build/html/_sources`` that readers download and Colab opens, get the address of
the repository and the current commit in their set-up cell; the notebooks under ``chapters/`` never do. The address is
``REPOSITORY``, else the git remote ``origin``; none is made up. Publishing twice changes nothing.

With ``PUSH=1`` the folder becomes the one commit of the branch ``gh-pages``, which replaces the last: Pages serves that
branch, and Colab opens notebooks from it. The commit is made in the repository that is there, with an index of its own,
so that no work tree changes and git's own credentials and identity are used.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from book import notebooks, setup_cell

SITE = notebooks.ROOT / "_build" / "html"
BRANCH = "gh-pages"
GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)")
SOURCES = "_sources"


class CannotPublish(Exception):  # noqa: N818 - the sentence shown reads "cannot publish: ..."
    """Why the site cannot be published, in one sentence."""


def git(*arguments: str, root: Path = notebooks.ROOT, **variables: str) -> str:
    """What git prints for ``arguments`` in the repository at ``root``, with ``variables`` added to its environment.

    Raises:
        CannotPublish: git fails, and the message is git's; or it is not there.
    """
    line = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=os.environ | variables)
    except FileNotFoundError as error:
        raise CannotPublish("git was not found: install it") from error
    if done.returncode:
        raise CannotPublish(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def web_address(remote: str) -> str:
    """The address that anyone can clone from: https, without user, password, port of ssh and ``.git``.

    ``git@host:owner/repo.git`` and ``ssh://git@host/owner/repo.git`` become ``https://host/owner/repo``; a path or a
    ``file://`` URL stays as it is.
    """
    remote = remote.strip()
    short = re.fullmatch(r"(?:[\w.-]+@)?([\w.-]+):(?!//)([^\\]+)", remote)
    if short and len(short[1]) > 1:
        remote = f"ssh://{short[1]}/{short[2].lstrip('/')}"
    parts = urlsplit(remote)
    if parts.scheme not in ("http", "https", "ssh", "git+ssh", "git"):
        return remote
    port = f":{parts.port}" if parts.port and parts.scheme in ("http", "https") else ""
    path = parts.path.rstrip("/").removesuffix(".git")
    return f"{'http' if parts.scheme == 'http' else 'https'}://{parts.hostname}{port}{path}"


def address(root: Path = notebooks.ROOT) -> str:
    """The address of the repository, "" where none is known.

    ``REPOSITORY`` wins, and may be a local clone; else it is the remote ``origin``, unless that is a path, which means
    nothing on another machine.
    """
    named = os.environ.get("REPOSITORY", "").strip()
    if named:
        return web_address(named)
    try:
        found = web_address(git("remote", "get-url", "origin", root=root))
    except CannotPublish:
        return ""
    return found if found.startswith(("https://", "http://")) else ""


def is_setup(source: str) -> bool:
    """Whether ``source`` is the set-up cell, with whatever address and revision."""
    return re.sub(r'^(ADDRESS|REVISION) = ".*"$', r'\1 = ""', source, flags=re.MULTILINE) == setup_cell.text()


def pages_address(repository: str) -> str:
    """Where GitHub Pages serves the branch of a repository, "" where it is on no host that we know to do so."""
    found = GITHUB.fullmatch(repository)
    if found is None:
        return ""
    host = f"{found[1].lower()}.github.io"
    return f"https://{host}/" if found[2].lower() == host else f"https://{host}/{found[2]}/"


def address_notebook(path: Path, repository: str, revision: str) -> None:
    """Write the address and the revision into the set-up cell of the published notebook at ``path``.

    Raises:
        CannotPublish: it has not exactly one set-up cell, or the address cannot stand in one.
    """
    nb = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code" and is_setup(notebooks.source(cell))]
    if len(cells) != 1:
        raise CannotPublish(f"{path.name} has {len(cells)} set-up cells, wanted one: see book/setup_cell.py")
    try:
        cells[0]["source"] = setup_cell.text(repository, revision).splitlines(keepends=True)
    except ValueError as error:
        raise CannotPublish(str(error)) from error
    text = json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")


def prepare(site: Path, repository: str, revision: str) -> int:
    """Make the site at ``site`` ready to be served by GitHub Pages; the number of notebooks that were addressed.

    Raises:
        CannotPublish: the site is not built, no address is known, or a notebook has no set-up cell.
    """
    if not (site / "index.html").exists():
        raise CannotPublish("the site is not built: run `make book` first")
    if not repository:
        raise CannotPublish(
            "no repository address is known: add the git remote `origin`, or name one with "
            "`make publish REPOSITORY=https://...`"
        )
    published = notebooks.pages(site / SOURCES)
    for path in published:
        address_notebook(path, repository, revision)
    # Without this file, Pages leaves out every folder whose name begins with an underscore.
    (site / ".nojekyll").touch()
    return len(published)


def push(site: Path, revision: str, root: Path = notebooks.ROOT) -> None:
    """Make ``site`` the only commit of the branch ``gh-pages`` at ``origin``.

    Raises:
        CannotPublish: there are uncommitted changes, ``origin`` does not hold the commit, or git fails.
    """
    if git("status", "--porcelain", root=root):
        raise CannotPublish("there are uncommitted changes, so the commit named in the pages is not what was built")
    git("fetch", "--quiet", "origin", root=root)
    if not git("branch", "--remotes", "--contains", revision, "--list", "origin/*", root=root):
        raise CannotPublish(f"origin does not hold {revision[:12]}, which readers would install: push it first")
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder, "index"))
        git("--work-tree", str(site.resolve()), "add", "--all", "--force", ".", root=root, GIT_INDEX_FILE=index)
        tree = git("write-tree", root=root, GIT_INDEX_FILE=index)
    commit = git("commit-tree", tree, "-m", f"Site of {revision}", root=root)
    git("push", "--force", "origin", f"{commit}:refs/heads/{BRANCH}", root=root)


def main() -> int:
    """Prepare the built site, push it where ``PUSH=1``; 0, or 2 with one sentence where it cannot be done."""
    try:
        repository = address()
        revision = git("rev-parse", "HEAD")
        count = prepare(SITE, repository, revision)
        print(f"{count} notebooks carry {repository} at {revision[:12]}: {SITE.relative_to(notebooks.ROOT)}")
        if git("status", "--porcelain"):
            print("note: there are uncommitted changes, and readers will install that commit, without them")
        if os.environ.get("PUSH") == "1":
            push(SITE, revision)
            print(f"pushed to the branch {BRANCH} of origin")
    except CannotPublish as reason:
        print(f"cannot publish: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
