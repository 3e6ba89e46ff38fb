"""What must add up in privacy."""
