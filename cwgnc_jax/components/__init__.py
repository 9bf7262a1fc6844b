"""What a component is, and the arithmetic of its norm."""
