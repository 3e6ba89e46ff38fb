"""What must add up in sanctions."""
