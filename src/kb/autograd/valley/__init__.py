"""A valley of two parameters, optimizers that go down in it, and their paths moving side by side."""

from kb.autograd.valley.descent import Valley, descend
from kb.autograd.valley.moving import Moving

__all__ = ["Moving", "Valley", "descend"]
