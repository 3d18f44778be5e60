"""The methods of a tensor, sorted by kind; each says which operation is meant, and no more."""
