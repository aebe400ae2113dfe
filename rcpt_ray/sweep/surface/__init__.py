"""What the trials say together: a response surface, where it is best, and which axes matter."""
