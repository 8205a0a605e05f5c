"""edgeshard: an embedded vector search engine for robots.

    config = EdgeConfig(vectors=EdgeVectorParams(384, Distance.Cosine))
    async with EdgeShard("memory", config) as shard:
        await shard.update(UpdateOperation.upsert_points([Point(1, vector, {"room": "kitchen"})]))
        hits = await shard.query(QueryRequest(limit=5, query=Query.Nearest(vector)))

`edge.blocking.EdgeShard` is the same engine for programs without an event loop.
"""

from importlib.metadata import version as _version

from edge import names
from edge.names import *  # noqa: F403
from edge.shard import EdgeShard

__version__ = _version("edgeshard")
__all__ = ["EdgeShard", "__version__", *names.__all__]
