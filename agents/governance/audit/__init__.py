"""What must add up in governance, a module per concern."""
