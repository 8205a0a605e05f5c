"""ZeroMQ doors: a robot's subsystems stream updates into a shard, ask it, and follow it.

Invariants
- All sockets of one `Endpoints` live in one thread of their own; nothing else touches them.
- What comes in is measured before anything is made of it; what is wrong is counted and, where there
  is somebody to tell, refused by name. Nothing that a peer sends raises out of the thread.
"""

from edge.endpoints.client import EdgeClient
from edge.endpoints.endpoints import Endpoints
from edge.endpoints.inbox import Policy
from edge.endpoints.publisher import Publisher
from edge.endpoints.security import ClientKeys, Keys, Role
from edge.endpoints.stream_publisher import StreamPublisher

__all__ = [
    "ClientKeys",
    "EdgeClient",
    "Endpoints",
    "Keys",
    "Policy",
    "Publisher",
    "Role",
    "StreamPublisher",
]
