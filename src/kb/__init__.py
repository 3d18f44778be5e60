"""Reference implementations behind an executable book on deep learning past the basics.

Importing the package itself is cheap (no torch): import the part that you need, ``from kb import lm``.
"""

__version__ = "0.1.0"
