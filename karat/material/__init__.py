"""What training and release are made of: data, metrics, trust, releases."""
