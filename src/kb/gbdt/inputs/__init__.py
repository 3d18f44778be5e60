"""Tables, targets, weights and queries as they come in, checked."""
