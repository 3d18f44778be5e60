"""From values to bins, by LightGBM's rules."""
