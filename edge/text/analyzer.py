"""From a text to its tokens: cut into words, fold, lower, drop stop words, stem, check lengths.

Invariants: the order of the steps and the tokens are those of Qdrant Edge 0.9; a word always
becomes the same tokens, so that they are remembered (a bounded number of them, short words only)
and may be asked for from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Generic, TypeVar

from edge.errors import ValidationError
from edge.text.characters import lowered
from edge.text.dictionaries import check_installed
from edge.text.folding import folded
from edge.text.stemmer import Stem
from edge.text.tokenizer import SPLITTERS, identifier_parts

T = TypeVar("T")

_BOUNDARY = "\x00"
"""What Qdrant's index puts between the elements of an array; no query asks for it."""


class Memo(dict[str, T], Generic[T]):
    """What a function gives for a word, remembered: `memo[word]`.

    It forgets all when `size` words are in it, and never keeps one of over `length` characters.
    """

    def __init__(self, function: Callable[[str], T], size: int = 1 << 15, length: int = 64) -> None:
        super().__init__()
        self._function, self._size, self._length = function, size, length

    def __missing__(self, word: str) -> T:
        result = self._function(word)
        if len(word) <= self._length:
            if len(self) >= self._size:
                self.clear()
            self[word] = result
        return result


class Analyzer:
    """What a text index and BM25 make of a text.

    Args:
        tokenizer: a name of `tokenizer.SPLITTERS`.
        lowercase: whether tokens (and stop words) are put in lower case.
        ascii_folding: whether accented letters are written in ASCII.
        stop_words: words that give no token, compared after folding and lowering.
        stem: a function of `stemmer.stemmer`, or None.
        min_token_len, max_token_len: in characters, both included; None is no bound. The prefix
            tokenizer gives the prefixes of these lengths.

    Raises ValidationError for an unknown tokenizer, for one whose library is not installed, and
    for lengths below 0.
    """

    def __init__(
        self,
        tokenizer: str = "word",
        *,
        lowercase: bool = True,
        ascii_folding: bool = False,
        stop_words: Iterable[str] = (),
        stem: Stem | None = None,
        min_token_len: int | None = None,
        max_token_len: int | None = None,
    ) -> None:
        if tokenizer not in SPLITTERS:
            known = ", ".join(SPLITTERS)
            raise ValidationError(f"tokenizer: {tokenizer!r} is none of {known}")
        if tokenizer == "multilingual":
            check_installed()
        if min(min_token_len or 0, max_token_len or 0) < 0:
            raise ValidationError("min_token_len, max_token_len: expected 0 or more")
        self.words = SPLITTERS[tokenizer]
        """The words of a text, as `document_tokens` and `query_tokens` take them."""
        self._lowercase, self._ascii_folding, self._stem = lowercase, ascii_folding, stem
        self._stop_words = frozenset(map(lowered, stop_words) if lowercase else stop_words)
        self._least, self._most = min_token_len, max_token_len
        of_document, of_query = {
            "prefix": (self._prefixes, self._longest_prefix),
            "code": (self._parts, self._parts),
        }.get(tokenizer, (self._itself, self._itself))
        self.document_tokens = Memo(of_document)
        """The tokens of a word of a document: `document_tokens[word]` is a tuple."""
        self.query_tokens = Memo(lambda word: tuple(t for t in of_query(word) if t != _BOUNDARY))
        """The tokens of a word of a query: `query_tokens[word]` is a tuple."""
        self._in_sequence = Memo(self._innermost) if tokenizer == "code" else self.document_tokens
        self._sought = self._in_sequence if tokenizer == "code" else self.query_tokens

    def document(self, text: str) -> list[str]:
        """The tokens of a text to be indexed or embedded, in order, with repetitions."""
        return list(chain.from_iterable(map(self.document_tokens.__getitem__, self.words(text))))

    def query(self, text: str) -> list[str]:
        """The tokens of a query to be embedded, in order, with repetitions."""
        return list(chain.from_iterable(map(self.query_tokens.__getitem__, self.words(text))))

    def sequence(self, text: str) -> list[str]:
        """The tokens of a text to be indexed whose neighbours make phrases.

        As `document`, but an identifier stands by its innermost parts only.
        """
        return list(chain.from_iterable(map(self._in_sequence.__getitem__, self.words(text))))

    def sought(self, text: str) -> list[str]:
        """The tokens that a condition's text asks for: all of them, any, or as a phrase.

        As `query`, but an identifier asks for its innermost parts only.
        """
        tokens = chain.from_iterable(map(self._sought.__getitem__, self.words(text)))
        return [token for token in tokens if token != _BOUNDARY]

    def _itself(self, word: str) -> tuple[str, ...]:
        token = self._token(word)
        return () if token is None or self._too_long(token) else (token,)

    def _parts(self, word: str) -> tuple[str, ...]:
        parts = identifier_parts(word, joined=self._lowercase)
        return tuple(chain.from_iterable(map(self._itself, parts)))

    def _innermost(self, word: str) -> tuple[str, ...]:
        parts = identifier_parts(word, joined=False)
        return tuple(chain.from_iterable(map(self._itself, parts)))

    def _prefixes(self, word: str) -> tuple[str, ...]:
        token = self._token(word)
        if token is None:
            return ()
        least = 1 if self._least is None else self._least
        longest = max(len(token), least)
        if self._most is not None:
            longest = min(longest, self._most)
        return tuple(token[:size] for size in range(least, longest + 1))

    def _longest_prefix(self, word: str) -> tuple[str, ...]:
        # No stop words: "the" is also how "theory" begins.
        token = self._stemmed(self._spelled(word))
        return () if self._too_short(token) else (token[: self._most],)

    def _token(self, word: str) -> str | None:
        spelled = self._spelled(word)
        if spelled in self._stop_words:
            return None
        token = self._stemmed(spelled)
        return None if self._too_short(token) else token

    def _spelled(self, word: str) -> str:
        plain = folded(word) if self._ascii_folding else word
        return lowered(plain) if self._lowercase else plain

    def _stemmed(self, word: str) -> str:
        return word if self._stem is None else self._stem(word)

    def _too_short(self, token: str) -> bool:
        return self._least is not None and len(token) < self._least

    def _too_long(self, token: str) -> bool:
        return self._most is not None and len(token) > self._most
