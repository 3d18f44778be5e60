"""The races that are recorded: one script each under ``races/``, their records under ``results/``, by ``make bench``.

A page may quote a record and the home page lists them all. ``book.check`` holds every record against the script that
made it, so a record that is out of date fails the tests.
"""
