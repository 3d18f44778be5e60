"""The environment in which pages run, the same for ``make run``, nbval and the plain runner.

Outputs are compared to the letter, so whatever may change them is fixed here: no progress bars, the device, the number
of threads (a float sum depends on how it is cut), the width at which lines are folded.
"""

import os
import subprocess
import sys

from book.notebooks import ROOT

THREADS = "2"  # what the budget of a page is stated for
BESIDE = {"KB_THREADS": "1"}  # for a page beside which another one runs: that outputs do not depend on it is tested so

# Matplotlib warns on stderr where the user's folder cannot be written; and what is set there has no place here.
MATPLOTLIB = ROOT / "_build" / "matplotlib"

FIXED = {
    "KB_PROGRESS": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "COLUMNS": "100",
    "NO_COLOR": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm's, in notebooks without widgets; stderr is compared
}


def environment(backend: str = "module://matplotlib_inline.backend_inline") -> dict[str, str]:
    """The environment of this process with everything fixed that could change an output.

    The committed outputs are those of the CPU, also where there is a GPU, unless ``KB_DEVICE`` says otherwise, and of
    two threads, unless ``KB_THREADS`` does.

    Args:
        backend: Matplotlib's; notebooks draw inline, the plain runner draws nowhere ("Agg").
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), os.environ.get("KB_THREADS", THREADS))
    fixed = FIXED | threads | {"MPLBACKEND": backend, "MPLCONFIGDIR": str(MATPLOTLIB)}
    return {"KB_DEVICE": "cpu"} | os.environ | fixed


def warm_up() -> None:
    """Let Matplotlib list the fonts of this machine once, before a page has to: it says on stderr that it does."""
    if not any(MATPLOTLIB.glob("fontlist*.json")):
        MATPLOTLIB.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(line, env=environment(), stderr=subprocess.DEVNULL, check=False)
