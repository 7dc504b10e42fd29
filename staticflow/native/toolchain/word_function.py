"""Native functions over tables of words, made once in a process: pools, gates, watches, calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain


def word_function(
    tools: Toolchain,
    name: str,
    source: str,
    signature: Signature,
    constants: Mapping[str, int],
    externals: Mapping[str, External] | None = None,
    more: Callable[[], Mapping[str, object]] = dict,
) -> NativeFunction:
    """A function whose source uses `constants`, the words of its tables above all, by their names.

    `externals` are the functions it calls, `more` gives further names if it has to be compiled.
    Its arguments may point at the same words.
    """
    return tools.kernel(
        KernelSource(
            name=name,
            source=source,
            signature=signature,
            externals=externals or {},
            namespace=lambda: {**constants, **more()},
            namespace_key=(str(sorted(constants.items())),),
            noalias=False,
        )
    )


def of_words(count: int) -> Signature:
    """From so many words to a word."""
    return Signature("i8", ("i8",) * count)


def called(source: str, signatures: Mapping[str, Signature]) -> dict[str, External]:
    """Those of some functions, by the names that the linker knows, that a source calls."""
    return {n: External(n, s) for n, s in signatures.items() if f"{n}(" in source}
