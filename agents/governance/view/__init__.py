"""What may be asked about governance, a module per concern."""
