"""Keeping in step with a Qdrant server."""
