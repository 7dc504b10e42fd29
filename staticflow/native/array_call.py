"""Run a program on NumPy arrays without any Python in between.

    call(owner, feeds)     feeds: a dict, or a tuple of all inputs in order
                           gives a new array, a tuple of them, or None

`call` is a C function that Python calls directly. It looks the inputs up, compares their dtypes and
shapes with the sizes that there are tables for, makes the results, runs the program, and gives the
GIL back meanwhile if that takes long. Whatever is not plain (another dtype or layout, new sizes,
a missing name) makes it give None: then the caller goes the long way, which explains what is wrong.

It reads tables (`array_layout`) and the C struct of arrays, and calls CPython's and NumPy's C
functions, where `python_call` finds them to be as expected.
"""

from __future__ import annotations

from collections.abc import Mapping

from staticflow.native.array_layout import Bound, Input, Output, Owner, Worker
from staticflow.native.crew import Crew, finish, offer, wake
from staticflow.native.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.python_call import PLAIN_FLAGS
from staticflow.native.toolchain import Toolchain

GIVEN = '''
def given(owner, feeds):
    """Whether the feeds are plain arrays, one for each input; leaves them in GIVEN."""
    o = i8ptr(owner)
    ordered = i8ptr(feeds)[1] == o[OWNER_TUPLE]
    if ordered:
        count = PyTuple_Size(feeds)
    elif i8ptr(feeds)[1] == o[OWNER_DICT]:
        count = PyDict_Size(feeds)
    else:
        return 0
    if count != o[OWNER_INPUT_COUNT]:
        return 0
    for k in range(count):
        x = i8ptr(o[OWNER_INPUTS] + 8 * INPUT_WORDS * k)
        if ordered:
            array = PyTuple_GetItem(feeds, k)
        else:
            array = PyDict_GetItem(feeds, x[INPUT_NAME])
            if array == 0:
                array = PyDict_GetItem(feeds, x[INPUT_NODE])
        if array == 0:
            return 0
        a = i8ptr(array)
        if a[1] != o[OWNER_ARRAY] or a[7] != x[INPUT_DTYPE]:
            return 0
        if i4ptr(array + 24)[0] != x[INPUT_RANK]:
            return 0
        if (i4ptr(array + 64)[0] & PLAIN_FLAGS) != PLAIN_FLAGS:
            return 0
        o[OWNER_GIVEN + k] = array
    return 1
'''

FIND = '''
def find(owner):
    """The tables for the sizes of the given arrays, or 0."""
    o = i8ptr(owner)
    bounds = i8ptr(o[OWNER_BOUNDS])
    for b in range(bounds[0]):
        bound = bounds[1 + b]
        wanted = i8ptr(i8ptr(bound)[BOUND_DIMS])
        place = 0
        same = True
        for k in range(o[OWNER_INPUT_COUNT]):
            rank = i8ptr(o[OWNER_INPUTS] + 8 * INPUT_WORDS * k)[INPUT_RANK]
            dims = i8ptr(i8ptr(o[OWNER_GIVEN + k])[4])
            for axis in range(rank):
                same = same and dims[axis] == wanted[place + axis]
            place += rank
        if same:
            return bound
    return 0
'''

WORK = '''
def work(table, worker):
    """Take pieces of the rows until none is left; gives how many it took."""
    b = i8ptr(table)
    own = i8ptr(b[BOUND_WORKERS] + 8 * WORKER_WORDS * worker)
    taken = 0
    while True:
        first = atomic_add(table + 8 * BOUND_NEXT, b[BOUND_PIECE])
        if first >= b[BOUND_ROWS] and first > 0:
            return taken
        taken += 1
        last = first + b[BOUND_PIECE] > b[BOUND_ROWS]
        T = own[WORKER_LAST_T] if last else own[WORKER_T]
        S = own[WORKER_LAST_S] if last else own[WORKER_S]
        for k in range(b[BOUND_ARRAY_COUNT]):
            slot = i8ptr(b[BOUND_SLOTS] + 16 * k)
            if slot[0] >= 0:
                place = i8ptr(b[BOUND_HELD + k])[2] + first * slot[1]
                if i8ptr(T)[slot[0]] != place:  # else helpers keep their copy of the table
                    i8ptr(T)[slot[0]] = place
        failed = call2(b[BOUND_STEP], T, S)
        if failed != 0:
            swap_if_zero(table + 8 * BOUND_RESULT, failed)
'''

RESULTS = '''
def results(owner, bound):
    """Make the arrays of the results; 0 if there is no memory."""
    o = i8ptr(owner)
    b = i8ptr(bound)
    for k in range(o[OWNER_OUTPUT_COUNT]):
        y = i8ptr(b[BOUND_SHAPES] + 8 * OUTPUT_WORDS * k)
        Py_IncRef(y[OUTPUT_DTYPE])
        array = call4(o[OWNER_EMPTY], y[OUTPUT_RANK], y[OUTPUT_DIMS], y[OUTPUT_DTYPE], 0)
        if array == 0:
            for i in range(k):
                Py_DecRef(b[BOUND_HELD + b[BOUND_INPUT_COUNT] + i])
            return 0
        b[BOUND_HELD + b[BOUND_INPUT_COUNT] + k] = array
    return 1
'''

RUN = '''
def run(bound, work):
    """Run the program, with helpers where there are any and they are free; -1: an exception."""
    b = i8ptr(bound)
    b[BOUND_RESULT] = 0
    b[BOUND_NEXT] = 0
    if b[BOUND_KEEP_GIL] != 0:
        call2(work, bound, 0)
        return b[BOUND_RESULT]
    crew = b[BOUND_CREW]
    offered = 0
    awake = 1
    if crew != 0:
        offered = offer(crew, work, bound, b[BOUND_NANOSECONDS])
        if offered != 0:
            awake = wake(crew, b[BOUND_NANOSECONDS])
    state = PyEval_SaveThread()
    call2(work, bound, 0)
    if offered != 0:
        finish(crew, b[BOUND_PATIENCE])
    PyEval_RestoreThread(state)
    return b[BOUND_RESULT] if awake != 0 else -1
'''

CALL = '''
def call(self, feeds):
    """See above; `self` is the array of the owner's table."""
    owner = i8ptr(self)[2]
    o = i8ptr(owner)
    bound = find(owner) if given(owner, feeds) != 0 else 0
    if bound == 0 or i8ptr(bound)[BOUND_BUSY] != 0:
        Py_IncRef(o[OWNER_NONE])
        return o[OWNER_NONE]
    b = i8ptr(bound)
    b[BOUND_BUSY] = 1
    inputs = o[OWNER_INPUT_COUNT]
    for k in range(inputs):
        b[BOUND_HELD + k] = o[OWNER_GIVEN + k]
        Py_IncRef(b[BOUND_HELD + k])
    answer = 0
    if results(owner, bound) != 0:
        failed = run(bound, o[OWNER_WORK])
        count = o[OWNER_OUTPUT_COUNT]
        if failed != 0:
            for k in range(count):
                Py_DecRef(b[BOUND_HELD + inputs + k])
            if failed != -1:
                answer = o[OWNER_NONE]
                Py_IncRef(answer)
        elif count == 1:
            answer = b[BOUND_HELD + inputs]
        else:
            answer = PyTuple_New(count)
            for k in range(count):
                if answer != 0:
                    PyTuple_SetItem(answer, k, b[BOUND_HELD + inputs + k])
                else:
                    Py_DecRef(b[BOUND_HELD + inputs + k])
    for k in range(inputs):
        Py_DecRef(b[BOUND_HELD + k])
    b[BOUND_BUSY] = 0
    return answer
'''

_PYTHON = {
    "PyDict_Size": Signature("i8", ("i8",)),
    "PyDict_GetItem": Signature("i8", ("i8", "i8")),
    "Py_IncRef": Signature("", ("i8",)),
    "Py_DecRef": Signature("", ("i8",)),
    "PyTuple_Size": Signature("i8", ("i8",)),
    "PyTuple_GetItem": Signature("i8", ("i8", "i8")),
    "PyTuple_New": Signature("i8", ("i8",)),
    "PyTuple_SetItem": Signature("i4", ("i8", "i8", "i8")),
    "PyEval_SaveThread": Signature("i8", ()),
    "PyEval_RestoreThread": Signature("", ("i8",)),
}


def _names() -> Mapping[str, object]:
    layouts = {
        "OWNER": Owner, "INPUT": Input, "BOUND": Bound, "OUTPUT": Output, "WORKER": Worker,
        "CREW": Crew,
    }  # fmt: skip
    named = {f"{prefix}_{m.name}": m.value for prefix, kind in layouts.items() for m in kind}
    return {**named, "PLAIN_FLAGS": PLAIN_FLAGS}


def _kernel(
    toolchain: Toolchain, name: str, source: str, arguments: int, **externals: External
) -> NativeFunction:
    python = {n: External(n, s) for n, s in _PYTHON.items() if f"{n}(" in source}
    return toolchain.kernel(
        KernelSource(
            name=name,
            source=source,
            signature=Signature("i8", ("i8",) * arguments),
            externals={**python, **externals},
            namespace=_names,
            namespace_key=(str(sorted(_names().items())),),
            noalias=False,
        )
    )


def work(toolchain: Toolchain) -> NativeFunction:
    """What every thread of a call runs."""
    return _kernel(toolchain, "work", WORK, 2)


def call(toolchain: Toolchain) -> NativeFunction:
    """The C function behind a `PythonCall`."""
    run = _kernel(
        toolchain, "run", RUN, 2, offer=offer(toolchain).external,
        wake=wake(toolchain).external, finish=finish(toolchain).external,
    )  # fmt: skip
    return _kernel(
        toolchain, "call", CALL, 2, run=run.external,
        given=_kernel(toolchain, "given", GIVEN, 2).external,
        find=_kernel(toolchain, "find", FIND, 1).external,
        results=_kernel(toolchain, "results", RESULTS, 2).external,
    )  # fmt: skip
