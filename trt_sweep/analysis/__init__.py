"""Say what records tell: reports, comparisons, histories, layers, partitions."""
