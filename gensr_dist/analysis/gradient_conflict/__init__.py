"""Whether both tasks pull the weights that they share in opposite directions."""
