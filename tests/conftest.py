"""How threads wait, and how examples are drawn.

Threads that wait sleep, as in ``make test``: by OpenMP's default they spin, and where other programs run, what takes
two threads 0.1 s of processor time takes them 7.

No deadline: the tests share the machine's cores, and a first call may compile. In CI the same examples every time, so
that a change fails by what it changed; elsewhere new ones, which find what nobody thought of.
"""

import contextlib
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when the first library with threads is imported

with contextlib.suppress(ImportError):  # the GPU tests run where hypothesis may be missing
    from hypothesis import settings

    settings.register_profile("book", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("book")
