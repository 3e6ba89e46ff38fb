"""What may be asked about sanctions."""
