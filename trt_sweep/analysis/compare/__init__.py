"""Compare two nights of one sweep."""
