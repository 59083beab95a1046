"""Show how a model is split into engines, and what another min_block_size would change."""
