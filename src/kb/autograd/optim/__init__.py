"""Optimizers in the interface of ``torch.optim``, written once for the arrays of every library of the array API."""

from kb.autograd.optim.adafactor import Adafactor
from kb.autograd.optim.adagrad import Adagrad
from kb.autograd.optim.adam import Adam, AdamW
from kb.autograd.optim.lamb import LAMB
from kb.autograd.optim.lion import Lion
from kb.autograd.optim.muon import Muon
from kb.autograd.optim.optimizer import Optimizer
from kb.autograd.optim.rmsprop import RMSprop
from kb.autograd.optim.sgd import SGD

__all__ = ["LAMB", "SGD", "Adafactor", "Adagrad", "Adam", "AdamW", "Lion", "Muon", "Optimizer", "RMSprop"]
