"""One module a race; each offers ``contest(device)``, which asserts equal answers before anything is timed."""
