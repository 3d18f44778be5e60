"""The machinery of the book: running, checking, building and publishing its pages.

Each make target calls one module of this package: ``python -m book.check`` is ``make test``, and so on. Nothing here is
imported by a page; what pages import is the package ``kb``.
"""
