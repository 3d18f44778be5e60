"""Scripts that run on ``kb.serving`` and, with one import changed, on vLLM."""
