"""Run a program on NumPy arrays without any Python in between.

    call(owner, feeds)     feeds: a dict, or a tuple of all inputs in order
                           gives a new array, a tuple of them, or None

`call` is a C function that Python calls directly. It looks the inputs up, compares their dtypes and
shapes with the sizes that there are tables for, makes the results, runs the program, and gives the
GIL back meanwhile if that takes long. Whatever is not plain (another dtype or layout, new sizes,
a missing name) makes it give None: then the caller goes the long way, which explains what is wrong.

It reads tables (`calls.array_tables`) and the C struct of arrays, and calls CPython's and NumPy's C
functions, where `calls.cpython` finds them to be as expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticflow.native.calls.array_tables import (
    HASH_FACTOR,
    MAX_INPUTS,
    ArrayRecord,
    Bound,
    Output,
    Owner,
    Worker,
)
from staticflow.native.calls.cpython import PLAIN_FLAGS
from staticflow.native.threads.call_pool import finish, offer, wake
from staticflow.native.threads.read_gate import await_admission, enter_gate, leave_gate
from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.watch import Watch, enter_call, is_main, leave_call, stopped
from staticflow.native.toolchain.word_function import called, of_words, word_function

GIVEN = '''
def given(owner, feeds, arrays):
    """Take the feeds into `arrays`, a plain array for each input; 0 if they are anything else."""
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
        plain = 0
        if array != 0:
            a = i8ptr(array)
            if a[1] == o[OWNER_ARRAY] and a[7] == x[INPUT_DTYPE]:
                if i4ptr(array + 24)[0] == x[INPUT_RANK]:
                    if (i4ptr(array + 64)[0] & PLAIN_FLAGS) == PLAIN_FLAGS:
                        plain = 1
        if plain == 0:
            release(arrays, k)
            return 0
        Py_IncRef(array)  # at once: to look up the next one may run Python code
        i8ptr(arrays)[k] = array
    return 1
'''

RELEASE = '''
def release(arrays, count):
    """Give up references to arrays."""
    for k in range(count):
        Py_DecRef(i8ptr(arrays)[k])
    return 0
'''

FIND = '''
def find(owner, arrays):
    """Tables for the sizes of the given arrays whose memory is free, which is taken; or 0.

    Nothing in here gives the GIL back, so nobody else can change the tables, or take them.
    """
    o = i8ptr(owner)
    table = i8ptr(o[OWNER_BOUNDS])
    mask = table[0]
    place = 0
    for k in range(o[OWNER_INPUT_COUNT]):
        rank = i8ptr(o[OWNER_INPUTS] + 8 * INPUT_WORDS * k)[INPUT_RANK]
        dims = i8ptr(i8ptr(i8ptr(arrays)[k])[4])
        for axis in range(rank):
            place = place * HASH_FACTOR + dims[axis]
    while True:
        place = place & mask
        bound = table[1 + place]
        if bound == 0:
            return 0
        wanted = i8ptr(i8ptr(bound)[BOUND_DIMS])
        at = 0
        same = i8ptr(i8ptr(bound)[BOUND_CONTEXT])[0] == 0
        for k in range(o[OWNER_INPUT_COUNT]):
            rank = i8ptr(o[OWNER_INPUTS] + 8 * INPUT_WORDS * k)[INPUT_RANK]
            dims = i8ptr(i8ptr(i8ptr(arrays)[k])[4])
            for axis in range(rank):
                same = same and dims[axis] == wanted[at + axis]
            at += rank
        if same:
            i8ptr(i8ptr(bound)[BOUND_CONTEXT])[0] = 1
            return bound
        place += 1
'''

WORK = '''
def work(table, worker):
    """Take pieces of the rows until none is left; gives how many it took.

    There may be more threads than records of tables; those who come too late for one leave.
    """
    b = i8ptr(table)
    number = atomic_add(table + 8 * BOUND_COME, 1)
    if number >= b[BOUND_WORKER_COUNT]:
        return 0
    own = i8ptr(b[BOUND_WORKERS] + 8 * WORKER_WORDS * number)
    stop = b[BOUND_STOP]
    entry = b[BOUND_STOP_ENTRY]
    taken = 0
    while True:
        first = atomic_add(table + 8 * BOUND_NEXT, b[BOUND_PIECE])
        if first >= b[BOUND_ROWS] and first > 0:
            return taken
        taken += 1
        last = first + b[BOUND_PIECE] > b[BOUND_ROWS]
        T = own[WORKER_LAST_T] if last else own[WORKER_T]
        S = own[WORKER_LAST_S] if last else own[WORKER_S]
        if i8ptr(T)[entry] != stop:
            i8ptr(T)[entry] = stop
        for k in range(b[BOUND_ARRAY_COUNT]):
            target = i8ptr(b[BOUND_ENTRIES] + 16 * k)
            if target[0] >= 0:
                place = i8ptr(b[BOUND_HELD + k])[2] + first * target[1]
                if i8ptr(T)[target[0]] != place:  # else helpers keep their copy of the table
                    i8ptr(T)[target[0]] = place
        failed = call2(b[BOUND_STEP], T, S)
        if failed == 0 and load_acquire(stop) != 0:
            failed = stopped(stop)
        if failed != 0:
            swap_if_zero(table + 8 * BOUND_RESULT, failed)
            return taken
'''

RESULTS = '''
def results(owner, bound):
    """Make the arrays of the results; 0 if there is no memory."""
    o = i8ptr(owner)
    b = i8ptr(bound)
    for k in range(o[OWNER_OUTPUT_COUNT]):
        y = i8ptr(b[BOUND_SHAPES] + 8 * OUTPUT_WORDS * k)
        Py_IncRef(y[OUTPUT_DTYPE])
        rank = y[OUTPUT_RANK]
        if y[OUTPUT_IS_LARGE] != 0:
            array = call4(o[OWNER_LARGE], o[OWNER_MEMORY], rank, y[OUTPUT_DIMS], y[OUTPUT_DTYPE])
        else:
            array = call4(o[OWNER_EMPTY], rank, y[OUTPUT_DIMS], y[OUTPUT_DTYPE], 0)
        if array == 0:
            for i in range(k):
                Py_DecRef(b[BOUND_HELD + b[BOUND_INPUT_COUNT] + i])
            return 0
        b[BOUND_HELD + b[BOUND_INPUT_COUNT] + k] = array
    return 1
'''

RUN = '''
def run(owner, bound):
    """Run the program, with helpers where there are any and they are free; -1: an exception."""
    o = i8ptr(owner)
    b = i8ptr(bound)
    work = o[OWNER_WORK]
    gate = o[OWNER_GATE]
    watch = o[OWNER_WATCH]
    b[BOUND_RESULT] = 0
    b[BOUND_NEXT] = 0
    b[BOUND_COME] = 0
    b[BOUND_STOP] = watch + 8 * WATCH_NEVER
    if b[BOUND_KEEP_GIL] != 0:
        # with the GIL kept, no fit can begin meanwhile
        if gate == 0 or load_acquire(gate) == 0:
            call2(work, bound, 0)
            return b[BOUND_RESULT]
    main = is_main(watch)
    if main < 0:
        return -1
    if main != 0:
        b[BOUND_STOP] = watch
    ticket = enter_gate(gate) if gate != 0 else 0
    return run_released(owner, bound, main, ticket)
'''

RUN_RELEASED = '''
def run_released(owner, bound, main, ticket):
    """The same without the GIL: where a fit is under way, with a ticket between two of its steps.

    Then it stays alone, and holds the fit up for no longer than the work takes.
    """
    b = i8ptr(bound)
    work = i8ptr(owner)[OWNER_WORK]
    gate = i8ptr(owner)[OWNER_GATE]
    watch = i8ptr(owner)[OWNER_WATCH]
    pool = b[BOUND_POOL]
    began = 0
    raised = 0
    if pool != 0 and ticket == 0:
        began = offer(pool, work, bound)
        if began != 0:
            raised = 1 - wake(pool, b[BOUND_NANOSECONDS])
    state = 0
    if main != 0:
        enter_call(watch)
    else:
        state = PyEval_SaveThread()
    if ticket != 0:
        await_admission(gate, ticket)
    call2(work, bound, 0)
    if began != 0:
        finish(pool, began, b[BOUND_PATIENCE], b[BOUND_STOP])
    if gate != 0:
        leave_gate(gate)
    if main != 0:
        raised += leave_call(watch)
    else:
        PyEval_RestoreThread(state)
    return -1 if raised != 0 else b[BOUND_RESULT]
'''

CALL = '''
def call(self, feeds):
    """See above; `self` is the array of the owner's table."""
    owner = i8ptr(self)[2]
    o = i8ptr(owner)
    inputs = o[OWNER_INPUT_COUNT]
    arrays = room_for_arrays()
    bound = 0
    if given(owner, feeds, arrays) != 0:
        bound = find(owner, arrays)
        if bound == 0:
            release(arrays, inputs)
    if bound == 0:
        Py_IncRef(o[OWNER_NONE])
        return o[OWNER_NONE]
    b = i8ptr(bound)
    for k in range(inputs):
        b[BOUND_HELD + k] = i8ptr(arrays)[k]
    held = bound + 8 * BOUND_HELD
    answer = 0
    if results(owner, bound) != 0:
        failed = run(owner, bound)
        count = o[OWNER_OUTPUT_COUNT]
        if failed != 0:
            release(held + 8 * inputs, count)
            if failed != -1:
                answer = explain(o[OWNER_FAILED], failed)
        elif count == 1:
            answer = b[BOUND_HELD + inputs]
        else:
            answer = PyTuple_New(count)
            for k in range(count):
                if answer != 0:
                    PyTuple_SetItem(answer, k, b[BOUND_HELD + inputs + k])
                else:
                    Py_DecRef(b[BOUND_HELD + inputs + k])
    i8ptr(b[BOUND_CONTEXT])[0] = 0
    release(arrays, inputs)
    return answer
'''

EXPLAIN = '''
def explain(function, code):
    """Let Python raise the exception for the code of a custom op that failed."""
    number = PyLong_FromLongLong(code)
    if number == 0:
        return 0
    answer = PyObject_CallOneArg(function, number)
    Py_DecRef(number)
    return answer
'''

_PYTHON = {
    "PyLong_FromLongLong": Signature("i8", ("i8",)),
    "PyObject_CallOneArg": Signature("i8", ("i8", "i8")),
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


def _constants() -> Mapping[str, int]:
    layouts = {
        "OWNER": Owner, "INPUT": ArrayRecord, "BOUND": Bound, "OUTPUT": Output, "WORKER": Worker,
        "WATCH": Watch,
    }  # fmt: skip
    named = {f"{prefix}_{m.name}": m.value for prefix, kind in layouts.items() for m in kind}
    return {**named, "PLAIN_FLAGS": PLAIN_FLAGS, "HASH_FACTOR": HASH_FACTOR}


def _room() -> Mapping[str, object]:
    from llvmlite import ir

    from staticflow.native.toolchain.intrinsics import declare

    def emit(builder: Any) -> Any:
        """The address of room on the stack for the addresses of the inputs."""
        word = ir.IntType(64)
        with builder.goto_entry_block():
            place = builder.alloca(ir.ArrayType(word, MAX_INPUTS))
        return builder.ptrtoint(place, word)

    return {"room_for_arrays": declare("room_for_arrays", "i8", (), emit)}


def _kernel(
    tools: Toolchain, name: str, source: str, arguments: int, **externals: External
) -> NativeFunction:
    used = {**called(source, _PYTHON), **externals}
    return word_function(tools, name, source, of_words(arguments), _constants(), used, _room)


def work(toolchain: Toolchain) -> NativeFunction:
    """What every thread of a call runs."""
    return _kernel(toolchain, "work", WORK, 2, stopped=stopped(toolchain))


def call(toolchain: Toolchain) -> NativeFunction:
    """The C function behind a `PythonCall`."""
    released = _kernel(
        toolchain, "run_released", RUN_RELEASED, 4, offer=offer(toolchain).external,
        wake=wake(toolchain).external, finish=finish(toolchain).external,
        enter_call=enter_call(toolchain), leave_call=leave_call(toolchain),
        leave_gate=leave_gate(toolchain).external,
        await_admission=await_admission(toolchain).external,
    )  # fmt: skip
    run = _kernel(
        toolchain, "run", RUN, 2, run_released=released.external, is_main=is_main(toolchain),
        enter_gate=enter_gate(toolchain).external,
    )  # fmt: skip
    release = _kernel(toolchain, "release", RELEASE, 2).external
    return _kernel(
        toolchain, "call", CALL, 2, run=run.external, release=release,
        given=_kernel(toolchain, "given", GIVEN, 3, release=release).external,
        find=_kernel(toolchain, "find", FIND, 2).external,
        results=_kernel(toolchain, "results", RESULTS, 2).external,
        explain=_kernel(toolchain, "explain", EXPLAIN, 2).external,
    )  # fmt: skip
