"""How examples are drawn.

No deadline: the tests share the machine's cores, and a first call may compile. In CI the same examples every time, so
that a change fails by what it changed; elsewhere new ones, which find what nobody thought of.
"""

import contextlib
import os

with contextlib.suppress(ImportError):  # the GPU tests run where hypothesis may be missing
    from hypothesis import settings

    settings.register_profile("book", deadline=None, derandomize="CI" in os.environ)
    settings.load_profile("book")
