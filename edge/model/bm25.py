"""The BM25 model that callers hold: texts in, sparse vectors out.

Invariants: it keeps no state but what it remembers of words; it may be shared by threads.
"""

from __future__ import annotations

from edge.model import fields
from edge.model.sparse import SparseVector
from edge.model.text import Bm25Config, analyzer_of
from edge.text.bm25 import Embedder


class Bm25:
    """Sparse vectors of texts by BM25, equal to those of Qdrant; no server is needed.

    The default stems English and needs `edgeshard[text]`; without it, give
    `Bm25Config(stemmer=DisabledStemmer())`. The index must have `Modifier.Idf` for true BM25.
    Raises ValidationError where the stemmer is not installed.
    """

    __slots__ = ("_embedder", "config")

    def __init__(self, config: Bm25Config | None = None) -> None:
        self.config = fields.instance_or_none(config, "config", Bm25Config) or Bm25Config()
        self._embedder = Embedder(
            analyzer_of(self.config), self.config.k, self.config.b, self.config.avg_len
        )

    def embed_query(self, text: str) -> SparseVector:
        """A text to search for: every distinct token at weight 1."""
        return SparseVector.of_arrays(*self._embedder.query(fields.text(text, "text")))

    def embed_document(self, text: str) -> SparseVector:
        """A text to store: every distinct token at its weight by count and length."""
        return SparseVector.of_arrays(*self._embedder.document(fields.text(text, "text")))

    def __repr__(self) -> str:
        return f"Bm25({self.config!r})"
