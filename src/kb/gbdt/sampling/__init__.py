"""Which rows and features a tree sees."""
