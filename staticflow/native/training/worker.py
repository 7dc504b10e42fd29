"""The training worker: the native loop that every thread of a run runs, the same for all programs.

A step is: gather each shard's rows, make the first product in parts of its sum where that pays, run
the program forward and backward, wait for the others, make the gradients that a shard owns, add
up the other ones over its slice, update that slice, wait again. A thread has one shard or several,
one after the other; with one thread there is no waiting, with one shard no adding. A thread that
sees the stop flag, whose program gives up, or whose loss is NaN where that is watched for, sets the
reason and leaves before the step's first barrier; that frees those who wait there, so that the step
is committed by all shards or by none. A group of batches (`accumulation`) has one
update, after its last one. How many threads a step gets is up to `team`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from staticflow.native.threads.read_gate import Gate, admit
from staticflow.native.toolchain.objects import External, KernelSource, NativeFunction, Signature
from staticflow.native.toolchain.once import once
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.training.accumulation import (
    DRAW_SHIFT,
    NOALIAS,
    Accumulation,
    accumulation_functions,
)
from staticflow.native.training.barrier import BARRIER, GIVE_WAY
from staticflow.native.training.barrier import NAMES as BARRIER_NAMES
from staticflow.native.training.gather import GATHER, GATHER_ROWS
from staticflow.native.training.layout import (
    GRADIENT_WORDS,
    INPUT_WORDS,
    STATE_WORDS,
    Gradient,
    InputRecord,
    Parts,
    Reason,
    Shard,
    StateCopy,
    Sync,
    Total,
    Variant,
)
from staticflow.native.training.places import CPU_WORDS, room_for_masks
from staticflow.native.training.team import NAMES as TEAM_NAMES
from staticflow.native.training.team import Team, team_functions

BLOCK = 2048  # items of a gradient added up at a time: they stay in the first-level cache

ADD_ARRAY = """
def add_array(total, part, count):
    for i in range(count):
        total[i] += part[i]
"""

SUM_GRADIENTS = '''
def sum_gradients(context):
    """Add the shards' gradients into the first shard's array, over this shard's slice."""
    shard = i8ptr(context)
    for k in range(shard[SHARD_GRADIENT_COUNT]):
        record = i8ptr(shard[SHARD_GRADIENTS] + 8 * k * GRADIENT_WORDS)
        item = record[GRADIENT_ITEM_BYTES]
        parts = i8ptr(record[GRADIENT_PARTS])
        end = record[GRADIENT_END]
        begin = record[GRADIENT_BEGIN]
        while begin < end:
            count = min(BLOCK, end - begin)
            for p in range(1, shard[SHARD_SHARDS]):
                if item == 4:
                    add_f4(parts[0] + 4 * begin, parts[p] + 4 * begin, count)
                else:
                    add_f8(parts[0] + 8 * begin, parts[p] + 8 * begin, count)
            begin += count
'''

MAKE_PARTS = '''
def make_parts(context, variant, parties):
    """Make a product in parts of its sum, when all rows are there; 1 if the run is given up."""
    if parties > 1 and barrier(context) != 0:
        return 1
    shard = i8ptr(context)
    team = i8ptr(shard[SHARD_TEAM])
    for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
        own = i8ptr(team[k])
        record = i8ptr(own[variant + VARIANT_PARTS])
        call2(own[SHARD_OWN], record[PARTS_PRODUCTS], record[PARTS_COUNT])
    if parties > 1 and barrier(context) != 0:
        return 1
    for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
        record = i8ptr(i8ptr(team[k])[variant + VARIANT_PARTS])
        parts = i8ptr(record[PARTS_PARTS])
        for p in range(1, shard[SHARD_SHARDS]):
            if record[PARTS_ITEM_BYTES] == 4:
                add_f4(parts[0], parts[p], record[PARTS_ITEMS])
            else:
                add_f8(parts[0], parts[p], record[PARTS_ITEMS])
    return 0
'''

UPDATE = '''
def update(context, variant, parties):
    """Add up the gradients, and update the slices that this thread has; 1 if it is given up."""
    shard = i8ptr(context)
    sync = shard[SHARD_SYNC]
    team = i8ptr(shard[SHARD_TEAM])
    if shard[SHARD_SHARDS] > 1:
        if parties > 1 and barrier(context) != 0:
            return 1
        for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
            own = i8ptr(team[k])
            if own[SHARD_OWN] != 0:
                owned = own[variant + VARIANT_OWNED]
                call2(own[SHARD_OWN], owned, own[variant + VARIANT_OWNED_COUNT])
            sum_gradients(team[k])
    for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
        own = i8ptr(team[k])
        failed = call2(own[SHARD_UPDATE], own[SHARD_UPDATE_T], own[SHARD_UPDATE_S])
        if failed != 0:
            swap_if_zero(sync + 8 * SYNC_REASON, failed)
            return 1
    if parties > 1 and barrier(context) != 0:
        return 1
    return 0
'''

FORWARD = '''
def forward(context, variant, batch, parties):
    """Bring rows, and run the program forward and backward, for the shards that this thread has;
    why the run is given up, or 0.
    """
    shard = i8ptr(context)
    team = i8ptr(shard[SHARD_TEAM])
    for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
        own = i8ptr(team[k])
        gather(team[k], variant, batch)
        if own[SHARD_STEP_CELL] != 0:
            number = own[SHARD_STEP_BASE] + batch
            if own[SHARD_TOTAL] != 0:
                number = call2(i8ptr(own[SHARD_TOTAL])[TOTAL_NUMBER], team[k], batch)
            i8ptr(own[SHARD_STEP_CELL])[0] = number
    if shard[variant + VARIANT_PARTS] != 0 and make_parts(context, variant, parties) != 0:
        return ABORTED
    for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
        own = i8ptr(team[k])
        if own[SHARD_STEP] != 0:
            given_up = call2(own[SHARD_STEP], own[variant + VARIANT_T], own[variant + VARIANT_S])
            if given_up != 0:
                return given_up
        metrics = f8ptr(own[SHARD_METRICS])
        if own[SHARD_WATCH] != 0 and metrics[0] != metrics[0]:
            return NAN
    return 0
'''

STEPS = '''
def steps(context, first, end, parties):
    """Run batches first ... end-1, one of `parties` threads, which have the shards in turn; gives
    the steps finished.
    """
    shard = i8ptr(context)
    sync = shard[SHARD_SYNC]
    team = i8ptr(shard[SHARD_TEAM])
    batches = shard[SHARD_BATCHES]
    gate = shard[SHARD_GATE]
    done = 0
    for batch in range(first, end):
        if load_acquire(sync + 8 * SYNC_STOP) != 0:
            swap_if_zero(sync + 8 * SYNC_REASON, STOPPED)
            break
        if gate != 0:
            # Who waits for whole steps comes in here, where nobody changes parameters.
            if load_acquire(gate + 8 * GATE_TICKETS) != i8ptr(gate)[GATE_ADMITTED]:
                if admit(gate, sync + 8 * SYNC_STOP) != 0:
                    swap_if_zero(sync + 8 * SYNC_REASON, STOPPED)
                    break
        variant = SHARD_WHOLE
        if shard[SHARD_RAGGED] != 0 and batch % batches == batches - 1:
            variant = SHARD_LAST_BATCH
        given_up = forward(context, variant, batch, parties)
        if given_up != 0:
            swap_if_zero(sync + 8 * SYNC_REASON, given_up)
            break
        waits = 0
        if shard[SHARD_UPDATE] != 0 and shard[SHARD_TOTAL] != 0:
            for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
                total = i8ptr(i8ptr(team[k])[SHARD_TOTAL])
                waits = max(waits, call2(total[TOTAL_ADD], team[k], batch))
            if waits > 1:
                break
        if shard[SHARD_UPDATE] != 0 and waits == 0:
            if update(context, variant, parties) != 0:
                break
        for k in range(shard[SHARD_INDEX], shard[SHARD_SHARDS], parties):
            own = i8ptr(team[k])
            metrics = f8ptr(own[SHARD_METRICS])
            count = own[SHARD_METRIC_COUNT]
            sums = f8ptr(own[SHARD_METRIC_SUMS] + 8 * (batch // batches) * count)
            for m in range(count):
                sums[m] += metrics[m]
        done += 1
        if shard[SHARD_INDEX] == 0:
            store_release(sync + 8 * SYNC_DONE, i8ptr(sync)[SYNC_DONE] + 1)
    return done
'''

TRAIN = '''
def train(context):
    """A thread's share of the batches FIRST ... LAST-1; gives the steps finished."""
    shard = i8ptr(context)
    parties = shard[SHARD_PARTIES]
    float_state = flush_denormals()
    if shard[SHARD_GATE] != 0:
        admit(shard[SHARD_GATE], shard[SHARD_SYNC] + 8 * SYNC_STOP)
    if parties == 1 or shard[SHARD_ROLE] == 0:
        done = steps(context, shard[SHARD_FIRST], shard[SHARD_LAST], parties)
    else:
        done = call1(shard[SHARD_ROLE], context)
    restore_denormals(float_state)
    return done
'''


def _constants() -> dict[str, int]:
    """The layout's names as the sources spell them: SHARD_SYNC, INPUT_SOURCE, ..."""
    layouts = {
        "SHARD": Shard,
        "VARIANT": Variant,
        "INPUT": InputRecord,
        "GRADIENT": Gradient,
        "SYNC": Sync,
        "PARTS": Parts,
        "GATE": Gate,
        "TOTAL": Total,
        "STATE": StateCopy,
    }
    named = {f"{prefix}_{m.name}": m.value for prefix, kind in layouts.items() for m in kind}
    return {
        **named,
        **{reason.name: reason.value for reason in Reason},
        "INPUT_WORDS": INPUT_WORDS,
        "GRADIENT_WORDS": GRADIENT_WORDS,
        "STATE_WORDS": STATE_WORDS,
        "DRAW_SHIFT": DRAW_SHIFT,
        "BLOCK": BLOCK,
        **BARRIER_NAMES,
        "CPU_WORDS": CPU_WORDS,
        **TEAM_NAMES,
    }


def _namespace() -> Mapping[str, object]:
    from staticflow.native.kernel_names import cycles

    return {**_constants(), **room_for_masks(), "cycles": cycles}


def _source(
    name: str, text: str, signature: Signature, externals: Mapping[str, External] | None = None
) -> KernelSource:
    return KernelSource(
        name=name,
        source=text,
        signature=signature,
        externals=externals or {},
        namespace=_namespace,
        namespace_key=tuple(f"{name}={value}" for name, value in _constants().items()),
        noalias=name in NOALIAS,
    )


def _compiler(toolchain: Toolchain) -> Callable[..., NativeFunction]:
    def kernel(name: str, text: str, signature: Signature, **externals: External) -> NativeFunction:
        return toolchain.kernel(_source(name, text, signature, externals))

    return kernel


class Worker(NamedTuple):
    """The compiled worker."""

    train: NativeFunction  # i8(i8 context)
    barrier: NativeFunction  # i8(i8 context): for programs that need all shards within a step
    steps: NativeFunction  # i8(i8 context, i8 first, i8 end, i8 parties)
    call: Callable[[int], int]  # `train`, without the GIL


def sums_of_arrays(toolchain: Toolchain) -> dict[str, External]:
    """`add_f4(total, part, count)` and `add_f8`, of addresses."""

    def compiled(code: str) -> NativeFunction:
        signature = Signature("", (f"{code}*", f"{code}*", "u8"))
        return toolchain.kernel(KernelSource("add_array", ADD_ARRAY, signature))

    of_words = Signature("", ("i8",) * 3)
    return {f"add_{code}": External(compiled(code).symbol, of_words) for code in ("f4", "f8")}


@once
def worker(toolchain: Toolchain) -> Worker:
    """The worker, compiled or from the cache."""
    kernel = _compiler(toolchain)
    one = Signature("i8", ("i8",))
    nothing = {count: Signature("", ("i8",) * count) for count in (1, 3, 5)}
    add = sums_of_arrays(toolchain)
    rows = kernel("gather_rows", GATHER_ROWS, nothing[5])
    gather = kernel("gather", GATHER, nothing[3], gather_rows=rows.external)
    total = kernel("sum_gradients", SUM_GRADIENTS, nothing[1], **add)
    give_way = kernel("give_way", GIVE_WAY, Signature("", ("i8",)))
    barrier = kernel("barrier", BARRIER, one, give_way=give_way.external)
    three, four = Signature("i8", ("i8",) * 3), Signature("i8", ("i8",) * 4)
    parts = kernel("make_parts", MAKE_PARTS, three, barrier=barrier.external, **add)
    update = kernel("update", UPDATE, three, barrier=barrier.external, sum_gradients=total.external)
    forward = kernel("forward", FORWARD, four, gather=gather.external, make_parts=parts.external)
    steps = kernel(
        "steps", STEPS, four,
        forward=forward.external, update=update.external, admit=admit(toolchain),
    )  # fmt: skip
    train = kernel("train", TRAIN, one, steps=steps.external, admit=admit(toolchain))
    return Worker(train, barrier, steps, train.bind())


@once
def accumulation(toolchain: Toolchain) -> Accumulation:
    """What adds up gradients of several batches, compiled or from the cache."""
    return accumulation_functions(_compiler(toolchain), worker(toolchain).barrier)


@once
def team(toolchain: Toolchain) -> Team:
    """What chooses the threads of a run while it runs, compiled or from the cache."""
    return team_functions(_compiler(toolchain), worker(toolchain).steps)
