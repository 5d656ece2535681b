"""Ways of learning to make values, one file each."""
