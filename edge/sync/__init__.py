"""Keeping in step with a Qdrant server. Needs `pip install 'edgeshard[sync]'`."""

from edge.sync.mirror import Mirror, Status
from edge.sync.pull import Pull, Pulled
from edge.sync.push import Progress, Push
from edge.sync.rest import Retries

__all__ = ["Mirror", "Progress", "Pull", "Pulled", "Push", "Retries", "Status"]
