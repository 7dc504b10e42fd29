"""Files changed by an attacker who knows their structure; the same seed gives the same file.

A model's data is changed as a tree of JSON (values of other types, sizes and words that mean
something elsewhere, parts exchanged, removed, doubled, nested), its tensors and its header too, and
signed again; or bytes are flipped and cut off. CSV, NPZ and cache entries are changed likewise.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticflow.graph.op_table import table
from staticflow.native.toolchain.disk_cache import MAGIC
from staticflow.runtime.saved_names import classes, derivatives, rows
from staticflow.session.files.checkpoint import DATA, DIGEST, digest_of

Array = np.ndarray[Any, Any]
CANARY = "canary.py"  # a file beside the mutated one, which nothing may read
CODE = (
    f"open('{CANARY}', 'a')", "__import__('os').abort()", "x\n    import os\n    os.abort()",
    "1) or __import__('os').system('touch made')", "'''\nraise SystemExit\n'''", "{0.__class__}",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 5, -2, 7, 31, 64, 1000, 1 << 31, -(1 << 31), 1 << 36, 1 << 62, 1 << 63,
    -(1 << 63), 10**18, 1 << 200, 0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    True, False, None,
)  # fmt: skip
SIZES = (
    "batch", "n - 1", "batch*batch", "-n", "n - 100", "1000000000*batch", "isqrt(batch)", "n // 0",
    "batch*time*batch*time", "*".join(f"(a{k} + 1)" for k in range(40)),
    "(" * 300 + "n" + ")" * 300, "n // (n - 3)", "9" * 40, "a.b", "-" * 500 + "1",
    "+".join(f"a{k}" for k in range(500)), "",
)  # fmt: skip
DTYPES = ("float32", "float64", "int32", "int64", "bool", "float16", "object", "U10", "")
DEEP = "@deep@"  # stands for lists within lists, which the encoder would not write


class Mutator:
    """Changes trees of JSON; `paths` are the places in one."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.words = [*classes(), *rows(), *derivatives(), *table(), *DTYPES]

    def tree(self, data: Any, count: int) -> Any:
        """The data with so many changes."""
        data = copy.deepcopy(data)
        for _ in range(count):
            places = list(_places(data))
            if places:
                self._change(data, *self.rng.choice(places))
        return data

    def _change(self, data: Any, parent: Any, key: Any) -> None:
        rng, old = self.rng, parent[key]
        ways: list[Callable[[], Any]] = [
            lambda: rng.choice(NUMBERS),
            *[lambda: self._alike(old)] * 6,
            lambda: self.text(),
            lambda: {"dim": rng.choice(SIZES)},
            lambda: {"node": rng.choice((0, 1, 5, -1, 1 << 40))},
            lambda: {rng.choice(("row", "rule", "class", "token", "type", "float")): self.text()},
            lambda: rng.choice(([], {}, [[]], {"": {}}, [None], "")),
            lambda: copy.deepcopy(self._other(data)),
            lambda: [old] * rng.choice((0, 1, 2, 40)),
            self._deep,
        ]
        what = rng.randrange(len(ways) + 3)
        if what < len(ways):
            parent[key] = ways[what]()
        elif what == len(ways) and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(old))
        elif what == len(ways) + 1 and isinstance(parent, list):
            other = rng.randrange(len(parent))
            parent[key], parent[other] = parent[other], parent[key]
        else:
            del parent[key]

    def _alike(self, old: Any) -> Any:
        """Something of the same type."""
        rng = self.rng
        if isinstance(old, bool):
            return not old
        if isinstance(old, int):
            return rng.choice((old + 1, old - 1, -old, 2 * old, rng.randrange(12), old * 1000))
        if isinstance(old, float):
            return rng.choice((old * 2, -old, 0.0, 1e300, float("nan"), 1e-300))
        if isinstance(old, str):
            return self.text()
        if isinstance(old, list):
            return rng.choice((old[::-1], old[:-1], old + old[:1], [*old, 1], [1, *old]))
        return {**old, self.text(): 1} if isinstance(old, dict) else rng.choice(NUMBERS)

    def _other(self, data: Any) -> Any:
        parent, key = self.rng.choice(list(_places(data)))
        return parent[key]

    def _deep(self) -> Any:
        return DEEP if self.rng.random() < 0.1 else self._alike([1, 2])

    def text(self) -> str:
        """A word that means something, or that must not."""
        rng = self.rng
        kinds: list[Callable[[], str]] = [
            lambda: rng.choice(self.words),
            lambda: rng.choice(self.words),
            lambda: rng.choice(DTYPES),
            lambda: rng.choice(CODE),
            lambda: rng.choice(SIZES),
            lambda: rng.choice((CANARY, f"../{CANARY}", "/etc/passwd", "/dev/zero", "x" * 100_000)),
            lambda: "".join(map(chr, rng.choices((0, 10, 13, 34, 39, 92, 0x2028, 0x1F600), k=4))),
            lambda: rng.choice(("seed", "step", "x", "y", "t", "", "__metadata__", "loss")),
        ]  # fmt: skip
        return rng.choice(kinds)()


def _places(data: Any) -> Any:
    """Every (parent, key) in a tree, without recursion; nodes of a graph are reached most often."""
    waiting = [data]
    while waiting:
        parent = waiting.pop()
        if isinstance(parent, dict | list):
            keys = list(parent) if isinstance(parent, dict) else range(len(parent))
            for key in keys:
                yield parent, key
                waiting.append(parent[key])


def model_bytes(data: Any, tensors: Mapping[str, Array]) -> bytes:
    """A safetensors file of this data, signed so that what it says is reached."""
    text = json.dumps(data).replace(f'"{DEEP}"', "[" * 5000 + "]" * 5000)
    metadata = {DATA: text, DIGEST: digest_of(text, tensors)}
    return with_header(header_of(tensors, metadata), tensors)


def header_of(tensors: Mapping[str, Array], metadata: dict[str, str]) -> dict[str, Any]:
    """The header of a safetensors file."""
    codes = {
        "f4": "F32",
        "f8": "F64",
        "i4": "I32",
        "i8": "I64",
        "b1": "BOOL",
        "f2": "F16",
        "u1": "U8",
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, array in tensors.items():
        offsets = [end, end + array.nbytes]
        code = codes[array.dtype.str[1:]]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        end += array.nbytes
    return header


def with_header(header: dict[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """The header, and the tensors as they are."""
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + b"".join(a.tobytes() for a in tensors.values())


def mutated_model(base: tuple[Any, dict[str, Array]], rng: random.Random) -> bytes:
    """A model file that says something else than the one it was."""
    data, tensors = base
    mutator, way = Mutator(rng), rng.random()
    if way < 0.72:
        graph = data["graph"]
        whole = rng.random() < 0.2
        changed = mutator.tree(data if whole else graph["nodes"], rng.choice((1, 1, 1, 2, 3)))
        return model_bytes(
            changed if whole else {**data, "graph": {**graph, "nodes": changed}}, tensors
        )
    if way < 0.82:
        return model_bytes(data, mutated_tensors(tensors, rng))
    if way < 0.88:
        text = json.dumps(data)
        metadata = {DATA: text, DIGEST: digest_of(text, tensors)}
        return with_header(mutator.tree(header_of(tensors, metadata), 1), tensors)
    return damaged(model_bytes(data, tensors), rng)


def mutated_tensors(tensors: Mapping[str, Array], rng: random.Random) -> dict[str, Array]:
    """Tensors of other types, shapes, names and values."""
    changed = dict(tensors)
    if not changed:
        return {"x": np.zeros(3, np.float32)}
    name = rng.choice(list(changed))
    array = changed[name]
    ways: list[Callable[[], Any]] = [
        lambda: array.astype(
            rng.choice(("float32", "float64", "int32", "int64", "bool", "float16"))
        ),
        lambda: array.reshape(-1),
        lambda: array[..., None],
        lambda: np.zeros((*array.shape, 0), array.dtype),
        lambda: np.concatenate([array.reshape(-1)] * 2),
        lambda: np.full_like(array, rng.choice((0, 1, -1, 100))),
        lambda: np.full(array.shape, np.nan, "float32") if array.dtype.kind == "f" else array,
        lambda: np.full_like(array, 1 << 30 if array.dtype.kind == "i" else 1),
    ]
    if rng.random() < 0.2:
        changed[Mutator(rng).text().encode("utf-8", "replace").decode() or "x"] = changed.pop(name)
    else:
        changed[name] = np.ascontiguousarray(rng.choice(ways)())
    return changed


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut off, doubled or put in."""
    way, at = rng.randrange(4), rng.randrange(len(content) + 1)
    if way == 0:
        return content[:at]
    if way == 1:
        return content[:at] + rng.randbytes(rng.choice((1, 8, 4096))) + content[at:]
    if way == 2:
        return content + content[at:]
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        found[rng.randrange(len(found))] = rng.randrange(256)
    return bytes(found)


def mutated_entry(content: bytes, rng: random.Random) -> bytes:
    """A cache entry with another header, signed again, or with damaged bytes."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    payload = content[len(MAGIC) + 32 :]
    size = int.from_bytes(payload[:4], "little")
    header = json.dumps(Mutator(rng).tree(json.loads(payload[4 : 4 + size]), 1)).encode()
    claimed = rng.choice((len(header), len(header), 0, 1 << 31, len(header) + 3))
    payload = claimed.to_bytes(4, "little") + header + payload[4 + size :]
    return MAGIC + hashlib.sha256(payload).digest() + payload


CELLS = (
    "", "nan", "inf", "-1e400", "1e308", "x" * 100_000, '"', '""', "\0", "\r", "a,b", "\u2028", "ﬁ",
    "1_000", "0x10", "\u0661", "9" * 400, "-", "=1+1", "true", " 1 ", "1e5", "None", "é", ";", "\t",
)  # fmt: skip


def mutated_csv(content: bytes, rng: random.Random) -> bytes:
    """A table with cells, lines and names that are none."""
    if rng.random() < 0.2:
        return damaged(content, rng)
    grid = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.randrange(len(grid))
        way = rng.randrange(6)
        if way < 3 and grid[row]:
            grid[row][rng.randrange(len(grid[row]))] = rng.choice(CELLS)
        elif way == 3:
            grid[row] = grid[row] * rng.choice((0, 2, 300))
        elif way == 4:
            grid.insert(row, list(rng.choice(grid)))
        else:
            del grid[row:]
            grid.append([])
    end = rng.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    return end.join(",".join(row) for row in grid).encode("utf-8", "surrogatepass")


def mutated_npz(content: bytes, rng: random.Random) -> bytes:
    """An archive with other members, headers that claim more, or damaged bytes."""
    if rng.random() < 0.4:
        return damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    way = rng.randrange(5)
    if way == 0:
        members[name] = damaged(members[name], rng)
    elif way == 1:
        members[rng.choice(("../x.npy", "a/b.npy", "x", name + ".npy", "é.npy"))] = members[name]
    else:
        members[name] = _npy(rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((0, 8, 12))) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return stream.getvalue()


def _npy(rng: random.Random) -> bytes:
    """An array's file, whose header may say anything."""
    kinds = (
        "'<f8'",
        "'<i8'",
        "'|O'",
        "'<U1000000'",
        "[('a', '<f8')]",
        "'|b1'",
        "'<f2'",
        "'<c16'",
        "x",
    )
    shapes = (
        "()",
        "(3,)",
        "(1000000000000,)",
        "(-1,)",
        "(3, 0)",
        "(2, 4611686018427387904)",
        "[3]",
        "3",
    )
    kind, shape = rng.choice(kinds), rng.choice(shapes)
    turned = rng.choice(("True", "False", "2"))
    text = f"{{'descr': {kind}, 'fortran_order': {turned}, 'shape': {shape}, }}"
    header = text.encode().ljust(118) + b"\n"
    return (
        b"\x93NUMPY\x01\x00"
        + len(header).to_bytes(2, "little")
        + header
        + bytes(rng.choice((0, 24, 48)))
    )
