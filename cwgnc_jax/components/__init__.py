"""What a component is (paths, maps, layout), and the arithmetic of its norm."""
