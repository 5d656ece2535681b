"""What a model can make or be told: spaces, the bridges between ids and numbers, and the codecs between files and values."""
