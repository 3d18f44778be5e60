"""No deadline for drawn examples: the tests share the machine's cores, and a first call may compile."""

import contextlib

with contextlib.suppress(ImportError):  # the GPU tests run where hypothesis may be missing
    from hypothesis import settings

    settings.register_profile("book", deadline=None)
    settings.load_profile("book")
