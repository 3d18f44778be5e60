"""Trees, and fits as they grow, drawn."""
