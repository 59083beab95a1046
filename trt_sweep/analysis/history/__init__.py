"""Follow one sweep over many nights."""
