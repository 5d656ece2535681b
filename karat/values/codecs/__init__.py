"""One file for each modality: how its files become values and values become files again."""
