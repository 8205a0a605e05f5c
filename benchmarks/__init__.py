"""edgeshard beside qdrant-edge-py, on the same data, in one table: `python -m benchmarks --help`.

Real embeddings are used when the environment variable EDGE_DATA names a folder that holds
texts_vectors.f16.npy (n x d, one row a text), texts_payload.jsonl.gz (the same rows as JSON
objects) and texts_queries.f32.npy (m x d). Without it, the objects that the demo ships are used.

Both engines get the same rows in the same order, the same batches, the same m, ef_construct and
number of segments, and the same Python lists; they take turns, round by round. A number is the
median of its runs; wall time decides, CPU time stands beside it, since a machine is seldom quiet.
"""

from __future__ import annotations
