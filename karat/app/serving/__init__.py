"""Serving: jobs that are accepted, worked on and watched, whoever asked for them and whatever dies meanwhile."""
