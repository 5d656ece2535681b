"""What takes time: training, generation, evaluation, and the recipes that describe it."""
