"""What a network costs: multiply-accumulates and time."""
