"""Read the profile that a point left: the layers of its engines, and where the time of a call went."""
