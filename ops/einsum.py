"""Einstein sums: products of arrays with named axes, by transposes and matrix products."""

from __future__ import annotations

from typing import Any

from staticflow.errors import DTypeError, ShapeError, fail
from staticflow.graph.dims import AnyDim, product
from staticflow.graph.node import Node
from staticflow.graph.types import promote
from staticflow.ops.cast import cast
from staticflow.ops.coerce import as_nodes
from staticflow.ops.contraction import matmul
from staticflow.ops.linalg_diagonal import diagonal
from staticflow.ops.public import public
from staticflow.ops.reductions import sum as total
from staticflow.ops.shape import expand_dims, reshape, squeeze, transpose

SPARE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Labelled = tuple[Node, str]  # an array and a letter for each of its axes


@public(formula="dy with the other operands, summed over the letters that are gone")
def einsum(subscripts: Any, *operands: Any, optimize: Any = False) -> Node:
    """The sum over all letters that the result lacks, of products of elements with equal letters.

    As NumPy's: "ij,jk->ik" is a matrix product, "ii" a trace, "...ij->...ji" a transpose. Also as
    operands each before a list of numbers for its axes, and maybe such a list for the result.
    `optimize` is NumPy's and without effect: products are taken in pairs from the left.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _as_text((subscripts, *operands))
    nodes = as_nodes(list(operands))
    dtype = promote([x.dtype for x in nodes]) if nodes else "float32"
    if dtype == "bool":
        fail(DTypeError, "einsum: takes numbers, not booleans", str(nodes[0].type))
    inputs, output = _parse(subscripts, nodes)
    sizes = _sizes(subscripts, nodes, inputs)
    terms = [_own(cast(x, dtype), letters) for x, letters in zip(nodes, inputs, strict=True)]
    terms = [_without_ones(x, letters, sizes) for x, letters in terms]
    while len(terms) > 1:
        first, second, *terms = terms
        needed = set(output).union(*(letters for _, letters in terms))
        terms.insert(0, _pair(first, second, needed))
    x, letters = _summed(terms[0], set(output))
    return transpose(x, [letters.index(letter) for letter in output])


def _as_text(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The text that lists of numbers beside the operands stand for."""
    pairs = len(arguments) // 2
    operands, lists = arguments[: 2 * pairs : 2], arguments[1::2]
    known = [n for axes in lists for n in axes if n is not Ellipsis]
    if not all(isinstance(n, int) and 0 <= n < len(LETTERS) for n in known):
        fail(ShapeError, "einsum: needs a text, or a list of numbers for each operand's axes",
             got=f"{lists}", do=f"give integers from 0 to {len(LETTERS) - 1}")  # fmt: skip
    terms = ["".join("..." if n is Ellipsis else LETTERS[n] for n in axes) for axes in lists]
    text = ",".join(terms)
    if len(arguments) % 2:
        text += "->" + "".join("..." if n is Ellipsis else LETTERS[n] for n in arguments[-1])
    return text, operands


def _parse(subscripts: str, nodes: list[Node]) -> tuple[list[str], str]:
    """A letter for each axis of each operand, and of the result; the dots become spare letters."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(nodes):
        fail(ShapeError, "einsum: one group of letters for each operand is needed",
             f"{subscripts!r} for {len(nodes)} operands")  # fmt: skip
    used = set(text)
    spare = "".join(letter for letter in SPARE if letter not in used)
    dots = max((x.ndim - len(t.replace("...", "")) for x, t in zip(nodes, inputs, strict=True)
                if "..." in t), default=0)  # fmt: skip
    filled = []
    for x, term in zip(nodes, inputs, strict=True):
        own = x.ndim - len(term.replace("...", ""))
        letters = term.replace("...", spare[dots - own : dots] if own > 0 else "")
        if len(letters) != x.ndim or (not letters.isalpha() and letters):
            fail(ShapeError, f"einsum: {term!r} does not name the axes of an operand",
                 got=f"{x.type} in {subscripts!r}")  # fmt: skip
        filled.append(letters)
    together = "".join(filled)
    if arrow:
        output = right.replace("...", spare[:dots])
    else:
        once = sorted(c for c in set(together) if together.count(c) == 1 and c not in spare[:dots])
        output = spare[:dots] + "".join(once)
    if len(set(output)) != len(output) or not set(output) <= set(together):
        fail(ShapeError, "einsum: the result's letters must be distinct letters of the operands",
             got=repr(subscripts))  # fmt: skip
    return filled, output


def _sizes(subscripts: str, nodes: list[Node], inputs: list[str]) -> dict[str, AnyDim]:
    """The size of each letter: that of all its axes but those of size 1, which broadcast; several
    axes of one operand are equal.
    """
    sizes: dict[str, AnyDim] = {}
    for x, letters in zip(nodes, inputs, strict=True):
        own: dict[str, AnyDim] = {}
        for letter, n in zip(letters, x.shape, strict=True):
            known = sizes.get(letter, 1)
            if own.setdefault(letter, n) != n or (1 not in (known, n) and known != n):
                fail(
                    ShapeError,
                    f"einsum: axes with the letter {letter!r} differ in size",
                    got=f"{own[letter] if own[letter] != n else known} and {n} in {subscripts!r}",
                    do="give equal letters to equal sizes only",
                )
            sizes[letter] = n if known == 1 else known
    return sizes


def _without_ones(x: Node, letters: str, sizes: dict[str, AnyDim]) -> Labelled:
    """The operand without its axes of size 1 that broadcast: all others have their letters."""
    ones = tuple(k for k, c in enumerate(letters) if x.shape[k] == 1 and sizes[c] != 1)
    kept = "".join(c for k, c in enumerate(letters) if k not in ones)
    return squeeze(x, ones) if ones else x, kept


def _own(x: Node, letters: str) -> Labelled:
    """Each letter once: of a repeated one, the diagonal."""
    for letter in letters:
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = diagonal(x, 0, first, second)
            rest = letters[:first] + letters[first + 1 : second] + letters[second + 1 :]
            letters = rest + letter
    return x, letters


def _summed(term: Labelled, needed: set[str]) -> Labelled:
    """The term summed over letters that nothing else has."""
    x, letters = term
    gone = tuple(k for k, letter in enumerate(letters) if letter not in needed)
    if not gone:
        return term
    return total(x, axis=gone), "".join(letter for letter in letters if letter in needed)


def _pair(first: Labelled, second: Labelled, needed: set[str]) -> Labelled:
    """One matrix product for two operands: batch letters, own letters and summed letters."""
    a, left = _summed(first, needed | set(second[1]))
    b, right = _summed(second, needed | set(left))
    batch = [c for c in left if c in right and c in needed]
    inner = [c for c in left if c in right and c not in needed]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    sizes = dict(zip(left, a.shape, strict=True)) | dict(zip(right, b.shape, strict=True))
    a = transpose(a, [left.index(c) for c in (*batch, *rows, *inner)])
    b = transpose(b, [right.index(c) for c in (*batch, *inner, *columns)])
    letters = "".join((*batch, *rows, *columns))
    if not inner:
        spread = expand_dims(a, tuple(range(a.ndim, a.ndim + len(columns))))
        axes = tuple(range(len(batch), len(batch) + len(rows)))
        return spread * expand_dims(b, axes), letters
    lead = tuple(sizes[c] for c in batch)
    k = product(sizes[c] for c in inner)
    flat_a = reshape(a, (*lead, product(sizes[c] for c in rows), k))
    flat_b = reshape(b, (*lead, k, product(sizes[c] for c in columns)))
    return reshape(matmul(flat_a, flat_b), tuple(sizes[c] for c in letters)), letters
