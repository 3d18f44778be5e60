"""A published page on a machine that has other versions than ours and no ``kb``, as Colab is.

A page is published into an empty folder, with a local clone for its address. Its code cells then run, in an
environment that knows nothing of this one, from the set-up cell to the end, and every version that was there before is
there after. The clone holds the work tree as it is, so that an uncommitted change is tested too.

Torch and what it needs are hard-linked from the environment of the tests: 750 MB need not be written anew to find out
that pip leaves them alone. One environment has an older numpy and matplotlib than ours and no transformers, the other
what Colab has and the newest of these two that there are; where these are ours, their metadata is made to name the next
version, as pip reads no more.

All pages in both environments take minutes: that is ``make colab``. In ``make test`` a page of three cells stands in
for them, in the newer environment only.
"""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book import kernels, notebooks, publish, setup_cell

PYTHON_313 = sys.version_info >= (3, 13)
OLDER = {"numpy": "2.1.3", "matplotlib": "3.9.4"} if PYTHON_313 else {"numpy": "1.26.4", "matplotlib": "3.8.4"}
ALL_PAGES = os.environ.get("KB_COLAB") == "1"

RUNNER = """\
import json, sys
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))["cells"], start=1):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
print("ran to the end")
"""


class Environment:
    """A virtual environment beside the one of the tests, on the same disk so that files can be hard-linked."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.packages = next(folder.glob("lib/python*/site-packages"))
        self.link("pip")  # sooner there than by ensurepip

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run its Python, without what this process hands down to find modules; pip compiles nothing ahead."""
        inherited = {key: value for key, value in kernels.environment("Agg").items() if not key.startswith("PYTHON")}
        return subprocess.run(
            [str(self.python), *arguments],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=inherited | {"PIP_NO_COMPILE": "1", "KB_DEVICE": "cpu"},
        )

    def pip(self, *arguments: str) -> str:
        done = self.run("-m", "pip", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def versions(self) -> dict[str, str]:
        importlib.invalidate_caches()  # pip was at work since
        found = importlib.metadata.distributions(path=[str(self.packages)])
        return {one.metadata["Name"].lower(): one.version for one in found}

    def link(self, *names: str) -> None:
        """Install distributions of this environment, and what they need, by hard links.

        What Python compiled of them goes along: it is valid as long as the source has its time of change, and Python
        replaces such a file as a whole, never in place.
        """
        for name in sorted(needs(*names)):
            for file in importlib.metadata.distribution(name).files or []:
                source = Path(str(file.locate()))
                if ".." in file.parts or not source.exists():
                    continue
                target = self.packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copy2(source, target)

    def declare_newer(self, name: str) -> None:
        """Have the metadata of ``name`` say the next version."""
        old = self.versions()[name]
        new = ".".join([*old.split(".")[:-1], str(int(old.split(".")[-1]) + 1)])
        info = next(self.packages.glob(f"{name}-{old}.dist-info"))
        metadata = (info / "METADATA").read_text(encoding="utf-8")
        (info / "METADATA").unlink()
        (info / "METADATA").write_text(metadata.replace(f"Version: {old}", f"Version: {new}", 1), encoding="utf-8")
        info.rename(info.with_name(f"{name}-{new}.dist-info"))


def needs(*names: str) -> set[str]:
    """The named distributions and all that they require here, as far as it is installed."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            required = importlib.metadata.distribution(name).requires or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted = [Requirement(line) for line in required]
        waiting += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A bare repository with one commit, the work tree as it is, and the name of that commit."""
    bare = tmp_path_factory.mktemp("clone") / "repo.git"
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True)
    identity = {f"GIT_{who}_{key}": "test" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    publish.git("--git-dir", str(bare), "--work-tree", str(notebooks.ROOT), "add", "--all", ".")
    publish.git("--git-dir", str(bare), "--work-tree", str(notebooks.ROOT), "commit", "-qm", "All", **identity)
    return bare, publish.git("rev-parse", "HEAD", root=bare)


ONLY_COLAB = pytest.mark.skipif(not ALL_PAGES, reason="takes over a minute: run by `make colab`")


@pytest.fixture(scope="module", params=[pytest.param("older", marks=ONLY_COLAB), "newer"])
def environment(request):
    folder = notebooks.ROOT / "_build" / f"colab-{request.param}"
    made = Environment(folder)
    # What Colab has too goes into the newer one, so that pip need not fetch it.
    made.link("torch", *(["transformers", "lightgbm", "pandas", "pyarrow", *OLDER] if request.param == "newer" else []))
    ours = {name: importlib.metadata.version(name) for name in OLDER}
    if request.param == "older":
        made.pip("install", "--quiet", *(f"{name}=={version}" for name, version in OLDER.items()))
    else:
        made.pip("install", "--quiet", "--upgrade", *OLDER)
        for name in OLDER:
            if made.versions()[name] == ours[name]:
                made.declare_newer(name)
    assert all(made.versions()[name] != ours[name] for name in OLDER)
    yield made
    shutil.rmtree(folder)


def small_page(folder: Path) -> Path:
    """A page of three cells, as it is committed."""
    sources = [
        setup_cell.text(),
        "from kb import runtime\n\nruntime.report()",
        "import matplotlib.pyplot as plt\nimport numpy as np\nimport torch\nimport transformers\n\n"
        "plt.plot(np.arange(3), torch.arange(3).numpy())\nplt.show()\nprint(transformers.__version__)",
    ]
    path = folder / "small.ipynb"
    notebooks.write(path, nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources]))
    return path


@pytest.mark.slow
def test_published_pages_run_and_leave_every_version_alone(environment, clone, tmp_path):
    pages = notebooks.pages() if ALL_PAGES else [small_page(tmp_path)]
    assert pages, "there is no page"
    runner = tmp_path / "elsewhere" / "runner.py"
    runner.parent.mkdir()
    runner.write_text(RUNNER, encoding="utf-8")
    before = environment.versions()
    assert "kb" not in before
    for number, page in enumerate(pages):
        folder = tmp_path / f"empty-{number}"
        folder.mkdir()
        published = folder / page.name
        shutil.copy(page, published)
        publish.address_notebook(published, str(clone[0]), clone[1])
        done = environment.run(str(runner), str(published), cwd=folder)
        assert done.stdout.endswith("ran to the end\n"), f"{page.name}:\n{done.stdout}{done.stderr}"
    after = environment.versions()
    assert "kb" in after
    assert {name: after.get(name) for name in before} == before
