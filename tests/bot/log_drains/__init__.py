"""What leaves for a log drain."""
