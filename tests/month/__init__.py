"""A month of a town: generated input, the platform, and a plain model that knows nothing of it; what both show is the same, row for row."""
