"""Endpoints in the shapes of OpenAI's, so that existing clients work unchanged."""
