"""Judge measured times: intervals, differences that are more than chance, and ranks."""
