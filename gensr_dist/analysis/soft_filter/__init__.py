"""What the soft filter attends to."""
