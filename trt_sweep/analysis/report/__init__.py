"""Answer from records: effects, verdicts, recommendations; `assembly` makes a report of them."""
