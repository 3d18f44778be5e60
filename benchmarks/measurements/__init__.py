"""One module a measurement; each offers ``measure(device)``, which asserts what must hold of its numbers."""
