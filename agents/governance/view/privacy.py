"""What may be asked about privacy."""
