"""Where both tasks' states lie: figure 3 of the paper, with numbers."""
