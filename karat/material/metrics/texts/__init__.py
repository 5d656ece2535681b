"""Metrics of texts: likelihood, overlap with references, variety, likeness in features, copying."""
