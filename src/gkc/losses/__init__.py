"""What training minimises, one idea a file."""
