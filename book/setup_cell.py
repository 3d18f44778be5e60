"""The set-up cell: the first code cell of every page, the same to the letter on all of them.

In a clone, where ``kb`` can be imported, it does nothing. On Colab it installs ``kb`` from the published repository
under a constraints file of all that is installed, so that no package which is there changes. The committed cell has no
address, as none is known before publishing; ``book.publish`` writes it into the published copies of the pages.
"""

from pathlib import Path

_TEXT = """\
# Where `kb` is missing, as on Colab, this installs it and changes no package that is there.
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ADDRESS = @ADDRESS@
REVISION = @REVISION@


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout)
        raise RuntimeError("kb could not be installed, for the reason printed above")


if importlib.util.find_spec("kb") is None:
    if not ADDRESS:
        raise ModuleNotFoundError("no kb: run `pip install -e .`, or open the published page")
    release = re.compile(r"(\\d+!)?\\d+(\\.\\d+)*((a|b|rc|\\.post|\\.dev)\\d+)*(\\+[\\w.]+)?")
    installed = {}
    for found in importlib.metadata.distributions():
        name, version = (str((found.metadata or {}).get(key)) for key in ("Name", "Version"))
        if release.fullmatch(version) and re.fullmatch(r"[A-Za-z0-9][\\w.-]*", name):
            installed.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    with tempfile.TemporaryDirectory() as folder:
        constraints, clone = Path(folder, "constraints.txt"), f"{folder}/kb"
        constraints.write_text("\\n".join(map("==".join, installed.items())))
        run("git", "clone", "--quiet", "--filter=blob:none", "--no-checkout", ADDRESS, clone)
        run("git", "-C", clone, "checkout", "--quiet", REVISION)
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        run(*pip, "--constraint", str(constraints), f"{clone}[pages]")
    importlib.invalidate_caches()
"""


def text(address: str | None = None, revision: str | None = None) -> str:
    """The source of the set-up cell.

    It clones with git and hands pip the folder: pip's own git addresses cannot all be a local clone and have extras.

    Args:
        address: What git clones the published repository from, a URL or the path of a local clone. None: the cell of
            a page that is not published, which says what to do where ``kb`` is missing.
        revision: The commit to install, wanted with an address and only with one.

    Raises:
        ValueError: one of the two is given without the other, or holds a character that ends it early.
    """
    if bool(address) != bool(revision):
        raise ValueError(f"address and revision: wanted both or neither, got {address!r} and {revision!r}")
    for name, value in (("address", address), ("revision", revision)):
        if value and any(character.isspace() or character in "\"'\\#;" for character in value):
            raise ValueError(f"{name}: {value!r} holds white space, a quote, a backslash, # or ;")
    url = Path(address).resolve().as_uri() if address and "://" not in address else address or ""
    return _TEXT.replace("@ADDRESS@", f'"{url}"').replace("@REVISION@", f'"{revision or ""}"').rstrip("\n")
