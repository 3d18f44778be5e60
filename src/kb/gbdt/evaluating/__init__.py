"""Metrics, evaluation sets, callbacks and early stopping."""
