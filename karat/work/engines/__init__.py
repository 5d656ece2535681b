"""Programs that write with a language model's weights, and which of them to use."""
