"""Points ranked by vectors: by likeness to one, by a rule over several, and diversified.

Invariants: all points of a shard are ranked by whatever stands for their vectors, those that
prefetches found always by the originals, and all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge.errors import DeadlineExceeded
from edge.model.filter import Filter
from edge.model.quantization import QuantizationSearchParams
from edge.model.query import (
    AcornSearchParams,
    ContextRanking,
    DiscoverRanking,
    FeedbackNaiveRanking,
    Mmr,
    NearestQuery,
    Query,
    RecommendBestScoreRanking,
    RecommendSumScoresRanking,
    SearchParams,
)
from edge.model.vector_params import EdgeVectorParams
from edge.query import sparse_examples
from edge.query.asked import Asked, Rule
from edge.query.deadline import Deadline
from edge.query.likeness import relevance_and_likeness
from edge.query.mmr import picked
from edge.query.pool import (
    Keys,
    Points,
    Ranked,
    by_segment,
    nothing,
    offsets_of,
    points_of,
    ranked,
    union,
)
from edge.query.search import Found, Hits, Leaf, Rows, merge, scan_few, search
from edge.query.search_together import Outcome, search_together
from edge.query.sparse import SparseLeaf, search_sparse, weighted
from edge.query.stage import Run, Stage, above
from edge.segment.view import ShardView
from edge.vectors.form import Form, form_of
from edge.vectors.metric import larger_is_better
from edge.vectors.sparse import SparseQuery
from edge_kernels import combined, scan
from edge_kernels.distance import DOT, to_score

KILOBYTE = 1024

USUAL = SearchParams()
USUAL_QUANTIZATION = QuantizationSearchParams()

# -- by vectors


_MOST = float(np.finfo(np.float32).max)


def _linear(weights: Sequence[float]) -> Rule:
    return Rule(combined.LINEAR, weights=np.array(weights, np.float32))


def _best_score(query: RecommendBestScoreRanking) -> Rule:
    return Rule(combined.BEST, first=len(query.query.positives))


def _sum_scores(query: RecommendSumScoresRanking) -> Rule:
    recommend = query.query
    return _linear([1.0] * len(recommend.positives) + [-1.0] * len(recommend.negatives))


def _feedback(query: FeedbackNaiveRanking) -> Rule:
    """What each item weighs: each pair of items draws to the one and away from the other."""
    feedback, weights = query.query.feedback, query.query.strategy
    shares = [0.0] * len(feedback)
    for i, one in enumerate(feedback):
        for j, other in enumerate(feedback):
            if one.score > other.score:
                with np.errstate(over="ignore"):
                    raised = np.float64(one.score - other.score) ** weights.b
                pull = float(min(raised, _MOST)) * weights.c
                shares[i] += pull
                shares[j] -= pull
    return _linear([weights.a, *np.clip(shares, -_MOST, _MOST).tolist()])


_RULES: dict[type, Callable[[Any], Rule | None]] = {
    NearestQuery: lambda query: None,
    RecommendBestScoreRanking: _best_score,
    RecommendSumScoresRanking: _sum_scores,
    DiscoverRanking: lambda query: Rule(combined.DISCOVER),
    ContextRanking: lambda query: Rule(combined.CONTEXT),
    FeedbackNaiveRanking: _feedback,
}
"""How the likeness to a query's examples becomes a score; None: it is the score."""

VECTOR_RANKINGS: tuple[type, ...] = tuple(_RULES)


def asked_of(query: Query) -> Asked:
    """Return what rows are compared with."""
    vectors: Any = tuple(example for _, example in query.examples())
    return Asked(vectors, _RULES[type(query)](query))


def _is_empty(query: Query) -> bool:
    """Whether it asks for nothing: a best score of no examples."""
    return isinstance(query, RecommendBestScoreRanking) and not any(True for _ in query.examples())


def by_vectors(run: Run, stage: Stage) -> Points:
    query: Query = stage.query
    if _is_empty(query):
        return nothing()
    if not isinstance(run.config.params_of(query.using or ""), EdgeVectorParams):
        return _by_sparse(run, stage)
    leaf = leaf_of(run.view, stage)
    hits = search(run.view, leaf, run.deadline, run.trace)
    return _scored(stage, leaf.form, leaf.query.code, hits)


def _scored(stage: Stage, form: Form, code: int, hits: Hits) -> Points:
    scores = to_score(code, hits.distances)
    similar = stage.query.__class__ is not NearestQuery or larger_is_better(form.metric)
    return above(Points(hits, scores), stage.score_threshold, similar)


def nearest_together(
    view: ShardView,
    stages: Sequence[Stage],
    deadlines: Sequence[Deadline],
    tell: Callable[[int, Points | DeadlineExceeded], None],
) -> None:
    """Rank all points by stages without prefetches that are alike but for the vector of their
    NearestQuery, their limit and their threshold; `tell(place, points or error)` of each."""
    alike = leaf_of(view, stages[0])
    vectors = [stage.query.query for stage in stages]
    leaves = [
        alike._replace(asked=Asked((vector,)), query=query, k=stage.limit)
        for vector, query, stage in zip(vectors, alike.form.queries(vectors), stages, strict=True)
    ]

    def tell_points(place: int, outcome: Outcome) -> None:
        if isinstance(outcome, Hits):
            tell(place, _scored(stages[place], alike.form, alike.query.code, outcome))
        else:
            tell(place, outcome)

    search_together(view, leaves, deadlines, tell_points)


STEP_OVER, WALK_THROUGH = AcornSearchParams(True), AcornSearchParams(False)


def leaf_of(view: ShardView, stage: Stage) -> Leaf:
    """Return what to search for, and how."""
    query: Query = stage.query
    name, asked = query.using or "", asked_of(query)
    form = form_of(view.config.vectors[name])
    params = stage.params or USUAL
    small_form = params.quantization or USUAL_QUANTIZATION
    hnsw = view.settings.hnsw[name]
    small = max(view.settings.indexing_threshold, hnsw.full_scan_threshold) * KILOBYTE
    return Leaf(
        name=name,
        asked=asked,
        form=form,
        query=asked.query(form),
        k=stage.limit,
        filter=stage.filter,
        ef=params.hnsw_ef or hnsw.ef_construct,
        exact=params.exact or not asked.vectors,
        full_scan_bytes=hnsw.full_scan_threshold * KILOBYTE,
        unindexed_bytes=small if params.indexed_only else None,
        use_small=not small_form.ignore,
        rescore=small_form.rescore is not False,
        oversampling=small_form.oversampling or 1.0,
        acorn=params.acorn or (WALK_THROUGH if hnsw.payload_m == 0 else STEP_OVER),
    )


def _by_sparse(run: Run, stage: Stage) -> Points:
    query: Query = stage.query
    weights = _sparse_weights(run, stage)
    if not isinstance(query, NearestQuery):
        return _by_sparse_examples(run, stage, weights)
    name = query.using or ""
    full_scan = run.view.settings.sparse_full_scan[name]
    leaf = SparseLeaf(name, weights[0], stage.limit, stage.filter, full_scan)
    hits = search_sparse(run.view, leaf, run.deadline, run.trace)
    return above(Points(hits, to_score(DOT, hits.distances)), stage.score_threshold, similar=True)


def _sparse_weights(run: Run, stage: Stage) -> list[SparseQuery]:
    """Return the examples, weighed by how rare their dimensions are where the vector asks it."""
    examples = [SparseQuery(*example.arrays) for _, example in stage.query.examples()]
    return weighted(run.view, stage.query.using or "", examples, corpus_of(stage), run.deadline)


def corpus_of(stage: Stage) -> Filter | None:
    """Return the points among which a dimension is rare or not (None: all)."""
    idf = None if stage.params is None else stage.params.idf
    return idf.corpus if idf else None


def _by_sparse_examples(
    run: Run, stage: Stage, examples: list[SparseQuery], keys: Keys | None = None
) -> Points:
    rule = _RULES[type(stage.query)](stage.query)
    assert rule is not None
    hits = sparse_examples.ranked(
        run.view, stage.query.using or "", examples, rule, stage.filter, stage.limit, keys,
        run.deadline, run.trace,
    )  # fmt: skip
    return above(Points(hits, to_score(DOT, hits.distances)), stage.score_threshold, similar=True)


def vectors_again(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    """Rank what was found before by vectors: always by the originals, and all of it."""
    keys, query = union(sources), stage.query
    if _is_empty(query):
        return nothing()
    name = query.using or ""
    if not isinstance(run.config.params_of(name), EdgeVectorParams):
        return _sparse_again(run, stage, keys)
    leaf = leaf_of(run.view, stage)
    parts = []
    for at, places in by_segment(run.view, keys):
        segment = run.view.segments[at]
        offsets = np.sort(offsets_of(keys[places]))
        column: Any = segment.column(name)
        having = offsets[segment.has_vector_at(offsets, name)]
        if len(having):
            rows = Rows(column, leaf.query)
            parts.append(scan_few(segment, rows, stage.limit, having, run.deadline))
    return _scored(stage, leaf.form, leaf.query.code, merge(parts, stage.limit))


def _sparse_again(run: Run, stage: Stage, keys: Keys) -> Points:
    weights = _sparse_weights(run, stage)
    if not isinstance(stage.query, NearestQuery):
        return _by_sparse_examples(run, stage, weights, keys)
    name, parts = stage.query.using or "", []
    for at, places in by_segment(run.view, keys):
        segment = run.view.segments[at]
        offsets = np.sort(offsets_of(keys[places]))
        having = offsets[segment.has_vector_at(offsets, name)]
        if len(having):
            column: Any = segment.column(name)
            top = scan.TopK(stage.limit)
            column.search_list(weights[0], having, segment.ids, top)
            parts.append(Found(segment, *top.finish()))
    hits = merge([part for part in parts if len(part.offsets)], stage.limit)
    return above(Points(hits, to_score(DOT, hits.distances)), stage.score_threshold, similar=True)


# -- by marginal relevance


def by_relevance(run: Run, stage: Stage) -> Points:
    """Diversify the nearest of all points."""
    mmr: Mmr = stage.query
    nearest = stage._replace(query=NearestQuery(mmr.vector, mmr.using), limit=mmr.candidates_limit)
    found = by_vectors(run, nearest) if mmr.candidates_limit else nothing()
    return _diversified(run, stage, found)


def relevance_again(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    mmr: Mmr = stage.query
    nearest = stage._replace(query=NearestQuery(mmr.vector, mmr.using), limit=mmr.candidates_limit)
    found = vectors_again(run.finishing(), nearest, sources) if mmr.candidates_limit else nothing()
    return _diversified(run, stage, found)


def _diversified(run: Run, stage: Stage, found: Points) -> Points:
    """Pick candidates that are not like each other; where there is no time for it, and best effort
    is asked for, the most relevant."""
    if not len(found.scores):
        return found
    mmr, candidates = stage.query, ranked(run.view, found)
    name, corpus = mmr.using or "", corpus_of(stage)
    try:
        relevance, alike = relevance_and_likeness(
            run.view, name, mmr.vector, candidates, corpus, run.deadline
        )
    except DeadlineExceeded:
        if not run.deadline.best_effort:
            raise
        return found.at(range(min(stage.limit, len(found.scores))))
    return points_of(run.view, picked(candidates, relevance, alike, mmr.lambda_, stage.limit))
