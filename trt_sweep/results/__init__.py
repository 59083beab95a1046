"""Hold what was measured: the columns of a record, its file, the table of many, and what can be said of them."""
