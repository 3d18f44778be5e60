"""Models as files: documented JSON, and LightGBM's text."""
