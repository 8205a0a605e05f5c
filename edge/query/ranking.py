"""What a query ranks all points of a shard by, or the points that its prefetches found.

Invariants
- A stage ranks the points that its prefetches found, each once, whatever their scores there; where
  they come from decides nothing but a fusion and a formula.
- Filters hold for all that is looked at below them; an example that is the id of a point stands for
  the vector of that point, which is not found itself.
- Leaves that are equal are searched once. Points that score the same are ordered by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from edge.errors import DeadlineExceeded, NotFound, ValidationError
from edge.model.config import EdgeConfig
from edge.model.examples import Example, is_id
from edge.model.filter import Filter, HasIdCondition
from edge.model.formula import Formula
from edge.model.fusion import DbsfFusion, Fusion, RrfFusion
from edge.model.point_id import PointId, decode_ids, encode_ids
from edge.model.prefetch import Prefetch
from edge.model.quantization import QuantizationSearchParams
from edge.model.query import (
    ContextRanking,
    DiscoverRanking,
    FeedbackNaiveRanking,
    Mmr,
    NearestQuery,
    OrderBy,
    Query,
    RecommendBestScoreRanking,
    RecommendSumScoresRanking,
    Sample,
    SearchParams,
    TextQuery,
)
from edge.model.sparse import SparseVector
from edge.model.vector_params import EdgeVectorParams, Modifier
from edge.query import scroll, sparse_examples
from edge.query.asked import Asked, Rule
from edge.query.bm25 import rank_by_text
from edge.query.chance import sample
from edge.query.deadline import Deadline
from edge.query.formula import evaluated
from edge.query.fusion import fused
from edge.query.mmr import picked
from edge.query.order import ordered
from edge.query.pool import (
    Keys,
    Points,
    Ranked,
    by_segment,
    id_rows,
    nothing,
    offsets_of,
    points_of,
    ranked,
    union,
)
from edge.query.search import Hits, Leaf, Rows, merge, scan_few, search
from edge.query.search_together import Outcome, search_together
from edge.query.sparse import SparseLeaf, search_sparse, weighted
from edge.query.trace import NO_TRACE, Trace
from edge.segment.view import ShardView
from edge.vectors.form import Form, form_of
from edge.vectors.metric import larger_is_better
from edge.vectors.sparse import SparseQuery
from edge_kernels import combined, scan
from edge_kernels.distance import DOT, to_score

KILOBYTE = 1024

USUAL = SearchParams()
USUAL_QUANTIZATION = QuantizationSearchParams()


class Stage(NamedTuple):
    """One ranking of a query: by what, of what, how many, and how hard it looks."""

    query: Any
    limit: int
    prefetches: tuple[Prefetch, ...] = ()
    filter: Filter | None = None
    params: SearchParams | None = None
    score_threshold: float | None = None


class Run:
    """One query on its way: the view that it is asked of, its time, its notes, what it knows."""

    def __init__(self, view: ShardView, deadline: Deadline, trace: Trace = NO_TRACE) -> None:
        self.view = view
        self.deadline = deadline
        self.trace = trace
        self._leaves: list[tuple[Stage, Ranked]] = []

    @property
    def config(self) -> EdgeConfig:
        """The config of the view."""
        return self.view.config

    def rank(self, stage: Stage) -> Points:
        """Return the points of a stage, best first."""
        if not stage.limit and not isinstance(stage.query, TextQuery):
            return nothing()
        stage = _with_vectors(self.view, stage)
        if not stage.prefetches:
            return LEAVES[type(stage.query)](self, stage)
        below = (_below(prefetch, stage.filter) for prefetch in stage.prefetches)
        sources = [self._source(prefetch) for prefetch in below]
        self.deadline.check()
        return _STAGES[type(stage.query)](self, stage, sources)

    def _source(self, stage: Stage) -> Ranked:
        if stage.prefetches:
            return ranked(self.view, self.rank(stage))
        for known, found in self._leaves:
            if known == stage:
                return found
        found = ranked(self.view, self.rank(stage))
        self._leaves.append((stage, found))
        return found


def _below(prefetch: Prefetch, above: Filter | None) -> Stage:
    """Return the stage of a prefetch, under the filters above it."""
    return Stage(
        prefetch.query,
        prefetch.limit,
        prefetch.prefetches,
        both(prefetch.filter, above),
        prefetch.params,
        prefetch.score_threshold,
    )


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """Return what fulfils both filters; None: everything does."""
    if first is None or second is None:
        return second if first is None else first
    return Filter(must=[first, second])


# -- examples that are ids


def _with_vectors(view: ShardView, stage: Stage) -> Stage:
    """Return the stage with the vectors of the points that its query names, which are not found."""
    query = stage.query
    if not isinstance(query, Query | Mmr):
        return stage
    examples: list[Any] = [example for _, example in query.examples()]
    ids: list[Any] = [example for example in examples if is_id(example)]
    if not ids:
        return stage
    name = query.using or ""
    known = _vectors_of(view, ids, name)
    replaced = [known[example] if is_id(example) else example for example in examples]
    others = Filter(must_not=[HasIdCondition(set(ids))])
    return stage._replace(query=query.with_examples(replaced), filter=both(stage.filter, others))


def _vectors_of(view: ShardView, ids: Sequence[Any], name: str) -> dict[PointId, Example]:
    distinct = list(dict.fromkeys(ids))
    owners, offsets = view.locate(encode_ids(distinct))
    found: dict[PointId, Example] = {}
    for point_id, owner, offset in zip(distinct, owners.tolist(), offsets.tolist(), strict=True):
        vector = None
        if owner >= 0:
            (vector,) = view.segments[owner].vectors_at(np.array([offset], np.uint32), name)
        if vector is None:
            raise NotFound(f'query: there is no point {point_id} with a vector "{name}"')
        found[point_id] = (
            vector if isinstance(vector, SparseVector) else np.array(vector, np.float32)
        )
    return found


# -- thresholds


def _above(found: Points, threshold: float | None, similar: bool) -> Points:
    """Return what is better than the threshold: above it for similarities, else below.

    As in Qdrant a score equal to it is left out.
    """
    if threshold is None:
        return found
    return found.where(found.scores > threshold if similar else found.scores < threshold)


def _at_least(found: Points, threshold: float | None) -> Points:
    """Return what reaches the threshold, as fusions and formulas have it."""
    return found if threshold is None else found.where(found.scores >= threshold)


def is_similarity(view: ShardView, query: object) -> bool:
    """Return whether larger scores are better."""
    if isinstance(query, NearestQuery | Mmr):
        params = view.config.params_of(query.using or "")
        if isinstance(params, EdgeVectorParams):
            return larger_is_better(form_of(params).metric)
    return True


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


def asked_of(query: Query) -> Asked:
    """Return what rows are compared with."""
    vectors: Any = tuple(example for _, example in query.examples())
    return Asked(vectors, _RULES[type(query)](query))


def _is_empty(query: Query) -> bool:
    """Whether it asks for nothing: a best score of no examples."""
    return isinstance(query, RecommendBestScoreRanking) and not any(True for _ in query.examples())


def _by_vectors(run: Run, stage: Stage) -> Points:
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
    return _above(Points(hits, scores), stage.score_threshold, similar)


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
        acorn=params.acorn,
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
    return _above(Points(hits, to_score(DOT, hits.distances)), stage.score_threshold, similar=True)


def _sparse_weights(run: Run, stage: Stage) -> list[SparseQuery]:
    """Return the examples, weighed by how rare their dimensions are where the vector asks it."""
    name = stage.query.using or ""
    idf = None if stage.params is None else stage.params.idf
    found = []
    for _, example in stage.query.examples():
        indices, values = example.arrays
        if run.config.sparse_vectors[name].modifier is Modifier.Idf:
            values = weighted(run.view, name, example, idf.corpus if idf else None, run.deadline)
        found.append(SparseQuery(indices, values))
    return found


def _by_sparse_examples(
    run: Run, stage: Stage, examples: list[SparseQuery], keys: Keys | None = None
) -> Points:
    rule = _RULES[type(stage.query)](stage.query)
    assert rule is not None
    found = sparse_examples.ranked(
        run.view, stage.query.using or "", examples, rule, stage.filter, stage.limit, keys,
        run.deadline, run.trace,
    )  # fmt: skip
    return _above(points_of(run.view, found), stage.score_threshold, similar=True)


def _vectors_again(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
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
            parts.append(sparse_examples.found(segment, top))
    hits = merge([part for part in parts if len(part.offsets)], stage.limit)
    return _above(Points(hits, to_score(DOT, hits.distances)), stage.score_threshold, similar=True)


# -- by marginal relevance


def _by_relevance(run: Run, stage: Stage) -> Points:
    """Diversify the nearest of all points."""
    mmr: Mmr = stage.query
    nearest = stage._replace(query=NearestQuery(mmr.vector, mmr.using), limit=mmr.candidates_limit)
    found = _by_vectors(run, nearest) if mmr.candidates_limit else nothing()
    return _diversified(run, stage, found)


def _relevance_again(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    mmr: Mmr = stage.query
    nearest = stage._replace(query=NearestQuery(mmr.vector, mmr.using), limit=mmr.candidates_limit)
    found = _vectors_again(run, nearest, sources) if mmr.candidates_limit else nothing()
    return _diversified(run, stage, found)


def _diversified(run: Run, stage: Stage, found: Points) -> Points:
    if not len(found.scores):
        return found
    mmr, candidates = stage.query, ranked(run.view, found)
    relevance, alike = sparse_examples.likeness(run.view, mmr.using or "", mmr.vector, candidates)
    return points_of(run.view, picked(candidates, relevance, alike, mmr.lambda_, stage.limit))


# -- by other things


def _by_id(run: Run, stage: Stage) -> Points:
    hits = scroll.page(run.view, None, stage.limit, stage.filter, run.deadline, run.trace)
    return _alike(hits)


def _by_chance(run: Run, stage: Stage) -> Points:
    return _alike(sample(run.view, stage.filter, stage.limit, run.deadline, run.trace))


def _by_order(run: Run, stage: Stage) -> Points:
    found = ordered(run.view, stage.query, stage.filter, stage.limit, run.deadline, trace=run.trace)
    return _alike(found.hits)._replace(values=found.values)


def _by_text(run: Run, stage: Stage) -> Points:
    hits, scores = rank_by_text(
        run.view, stage.query, stage.filter, stage.limit, run.deadline, run.trace
    )
    return _above(Points(hits, scores), stage.score_threshold, similar=True)


def _alike(hits: Hits) -> Points:
    """Points that no score tells apart."""
    return Points(hits, np.ones(len(hits.offsets), np.float32))


def _among(act: Leaves) -> Stages:
    """Rank what was found before as all points are, by a filter that leaves only these."""

    def again(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
        ids = decode_ids(id_rows(run.view, union(sources)))
        if not ids:
            return nothing()
        return act(run, stage._replace(filter=Filter(must=[HasIdCondition(set(ids))])))

    return again


# -- by what others ranked


def _fused(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    fusion: Fusion = stage.query
    similar = [is_similarity(run.view, prefetch.query) for prefetch in stage.prefetches]
    found = fused(run.view, fusion, sources, similar, stage.limit)
    return _at_least(points_of(run.view, found), stage.score_threshold)


def _by_formula(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    formula: Formula = stage.query
    found = evaluated(run.view, formula, sources, stage.limit, run.deadline)
    return _at_least(points_of(run.view, found), stage.score_threshold)


def _nothing_to_rank(run: Run, stage: Stage) -> Points:
    raise ValidationError(f"prefetches: a {type(stage.query).__name__} ranks what they find")


Leaves: TypeAlias = Callable[[Run, Stage], Points]
Stages: TypeAlias = Callable[[Run, Stage, list[Ranked]], Points]

VECTOR_RANKINGS: tuple[type, ...] = tuple(_RULES)

LEAVES: dict[type, Leaves] = {
    **dict.fromkeys(VECTOR_RANKINGS, _by_vectors),
    Mmr: _by_relevance,
    TextQuery: _by_text,
    OrderBy: _by_order,
    Sample: _by_chance,
    type(None): _by_id,
    RrfFusion: _nothing_to_rank,
    DbsfFusion: _nothing_to_rank,
    Formula: _nothing_to_rank,
}
"""Who ranks all points by each kind of query."""

_STAGES: dict[type, Stages] = {
    **dict.fromkeys(VECTOR_RANKINGS, _vectors_again),
    Mmr: _relevance_again,
    TextQuery: _among(_by_text),
    OrderBy: _among(_by_order),
    Sample: _among(_by_chance),
    RrfFusion: _fused,
    DbsfFusion: _fused,
    Formula: _by_formula,
}
"""Who ranks the points that prefetches found."""
