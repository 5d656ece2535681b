"""The server over HTTP: OpenAI's endpoints, Karat's own, and what every request passes. No logic: all work is asked of the app."""
