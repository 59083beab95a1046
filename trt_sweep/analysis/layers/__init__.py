"""Show the layers inside engines."""
