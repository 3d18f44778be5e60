"""Pip in a process of its own that ends when the one that started it does, however that dies.

Unusual: a child is not told that its parent was killed, but its standard input ends then, on every system. So the child
reads that input in a thread, and leaves when there is nothing to read; else it would write on into a folder that
somebody else is clearing away.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PIP_WHILE_WE_LIVE = """
import os, runpy, threading

def leave_when_input_ends():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=leave_when_input_ends, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def run_pip(arguments: Sequence[str], folder: Path, meanwhile: Callable[[], None]) -> tuple[int, str]:
    """Run pip; returns its exit status and all that it said.

    Args:
        arguments: Pip's own, from its command on.
        folder: Where its temporary files and its words go.
        meanwhile: Called ten times a second; whatever it raises ends pip.
    """
    log = folder / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _PIP_WHILE_WE_LIVE, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            while process.poll() is None:
                meanwhile()
                time.sleep(0.1)
        finally:
            process.kill()
            process.communicate()
    return process.returncode, log.read_text(errors="replace")
