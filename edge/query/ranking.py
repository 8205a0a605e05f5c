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
from typing import Any, TypeAlias

import numpy as np

from edge.errors import DeadlineExceeded, NotFound, ValidationError
from edge.model.examples import Example, is_id
from edge.model.filter import Filter, HasIdCondition
from edge.model.formula import Formula
from edge.model.fusion import DbsfFusion, Fusion, RrfFusion
from edge.model.point_id import PointId, decode_ids, encode_ids
from edge.model.query import Mmr, NearestQuery, OrderBy, Query, Sample, TextQuery
from edge.model.sparse import SparseVector
from edge.model.vector_params import EdgeVectorParams
from edge.query import scroll
from edge.query.bm25 import rank_by_text
from edge.query.by_vectors import (
    VECTOR_RANKINGS,
    by_relevance,
    by_vectors,
    relevance_again,
    vectors_again,
)
from edge.query.chance import sample
from edge.query.formula import evaluated
from edge.query.fusion import fused
from edge.query.order import ordered
from edge.query.pool import Points, Ranked, id_rows, nothing, points_of, ranked, union
from edge.query.search import Hits
from edge.query.stage import Run, Stage, above, at_least, below, both
from edge.segment.view import ShardView
from edge.vectors.form import form_of
from edge.vectors.metric import larger_is_better


def rank(run: Run, stage: Stage) -> Points:
    """Return the points of a stage, best first.

    When the time is over and best effort is asked for, nothing more is searched: the stages above
    rank what was found until then, and that is finished.
    """
    if not stage.limit and not isinstance(stage.query, TextQuery):
        return nothing()
    stage = _with_vectors(run.view, stage)
    sources = [_source(run, below(prefetch, stage.filter)) for prefetch in stage.prefetches]
    try:
        if not stage.prefetches:
            return LEAVES[type(stage.query)](run, stage)
        run.deadline.over()
        return _STAGES[type(stage.query)](run, stage, sources)
    except DeadlineExceeded:
        if not run.deadline.best_effort:
            raise
        return nothing()


def _source(run: Run, stage: Stage) -> Ranked:
    if stage.prefetches:
        return ranked(run.view, rank(run, stage))
    for known, found in run.searched:
        if known == stage:
            return found
    found = ranked(run.view, nothing() if run.deadline.over() else rank(run, stage))
    run.searched.append((stage, found))
    return found


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


def is_similarity(view: ShardView, query: object) -> bool:
    """Return whether larger scores are better."""
    if isinstance(query, NearestQuery | Mmr):
        params = view.config.params_of(query.using or "")
        if isinstance(params, EdgeVectorParams):
            return larger_is_better(form_of(params).metric)
    return True


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
    return above(Points(hits, scores), stage.score_threshold, similar=True)


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
    return at_least(points_of(run.view, found), stage.score_threshold)


def _by_formula(run: Run, stage: Stage, sources: list[Ranked]) -> Points:
    formula: Formula = stage.query
    found = evaluated(run.view, formula, sources, stage.limit, run.deadline)
    return at_least(points_of(run.view, found), stage.score_threshold)


def _nothing_to_rank(run: Run, stage: Stage) -> Points:
    raise ValidationError(f"prefetches: a {type(stage.query).__name__} ranks what they find")


def _finished(act: Stages) -> Stages:
    """Rank what was found to the end, though the time may be over: it is bounded by the limits of
    the prefetches."""
    return lambda run, stage, sources: act(run.finishing(), stage, sources)


Leaves: TypeAlias = Callable[[Run, Stage], Points]
Stages: TypeAlias = Callable[[Run, Stage, list[Ranked]], Points]

LEAVES: dict[type, Leaves] = {
    **dict.fromkeys(VECTOR_RANKINGS, by_vectors),
    Mmr: by_relevance,
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
    **dict.fromkeys(VECTOR_RANKINGS, _finished(vectors_again)),
    Mmr: relevance_again,
    TextQuery: _among(_by_text),
    OrderBy: _finished(_among(_by_order)),
    Sample: _finished(_among(_by_chance)),
    RrfFusion: _fused,
    DbsfFusion: _fused,
    Formula: _finished(_by_formula),
}
"""Who ranks the points that prefetches found."""
