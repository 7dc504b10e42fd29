"""Members of an ensemble, each a unit of work: threads take them in turn, some steps at a time.

    thread 0    member 0, steps 0 ... 9 | member 2, steps 0 ... 9 | member 1, steps 10 ... 19 | ...
    thread 1    member 1, steps 0 ... 9 | member 3, steps 0 ... 9 | member 0, steps 10 ... 19 | ...

A thread has one place to work: the tables of one shard, its arena and its gradient. Before it works
for a member it writes into these tables where that member's values lie, which a record of the
member says; then it runs the worker of all trainings (`worker`) on them. No thread waits for
another: a member whose turn it is may be taken by one thread at a time, and who finds none that is
free leaves, as each of those that are not done has a thread by then.
"""

from __future__ import annotations

from enum import IntEnum

from staticflow.native.threads.read_gate import Gate, reopen
from staticflow.native.toolchain.objects import NativeFunction
from staticflow.native.toolchain.once import once
from staticflow.native.toolchain.toolchain import Toolchain
from staticflow.native.toolchain.word_function import of_words, word_function
from staticflow.native.training.layout import Shard, Sync
from staticflow.native.training.worker import worker


class Queue(IntEnum):
    """What the threads of a run share."""

    COUNT = 0  # of members
    RECORDS = 1  # address of the members' records
    WIDTH = 2  # of a record, in bytes
    TURN = 16  # counts what has been taken
    DONE = 32  # steps finished, for progress
    WORDS = 48


class Record(IntEnum):
    """A member, in int64 words."""

    CLAIM = 0  # 0: free; 1: a thread has it; 2: it is done
    NEXT = 1  # the first batch that is not done
    LAST = 2  # the batch to stop before
    CHUNK = 3  # how many a thread runs before it takes another member
    REASON = 4  # why it ended before its last batch, as `Sync.REASON`
    VARIANT = 5  # which of a place's variants for the last batch of an epoch; -1: none
    GATE = 6  # address of the member's `gate.Gate`, or 0
    VALUES = 8  # what the words at a place's targets are to be


class Place(IntEnum):
    """Where a thread works, in int64 words."""

    QUEUE = 0  # address of the `Queue`
    SHARD = 1  # address of the table of its shard
    SYNC = 2  # address of the shard's sync block
    TARGETS = 3  # addresses of the words that say where a member's values lie
    TARGET_COUNT = 4
    VARIANTS = 5  # address of the variants for the last batch, of 8 words each
    WORDS = 16


FREE, TAKEN, OVER = 0, 1, 2
VARIANT_WORDS = Shard.LAST_BATCH - Shard.WHOLE

TAKE = '''
def take_member(queue):
    """The record of the member whose turn it is, or of the next one that is free; 0: none is."""
    words = i8ptr(queue)
    count = words[QUEUE_COUNT]
    turn = atomic_add(queue + 8 * QUEUE_TURN, 1)
    for k in range(count):
        record = words[QUEUE_RECORDS] + ((turn + k) % count) * words[QUEUE_WIDTH]
        if load_acquire(record + 8 * RECORD_CLAIM) == FREE:
            if swap_if_zero(record + 8 * RECORD_CLAIM, TAKEN) == FREE:
                return record
    return 0
'''

SETTLE = '''
def settle(context, member):
    """Point the tables of this place at a member's values."""
    place = i8ptr(context)
    record = i8ptr(member)
    targets = i8ptr(place[PLACE_TARGETS])
    for k in range(place[PLACE_TARGET_COUNT]):
        i8ptr(targets[k])[0] = record[RECORD_VALUES + k]
    shard = i8ptr(place[PLACE_SHARD])
    variant = record[RECORD_VARIANT]
    if variant >= 0:
        words = i8ptr(place[PLACE_VARIANTS] + 8 * VARIANT_WORDS * variant)
        for k in range(VARIANT_WORDS):
            shard[SHARD_LAST_BATCH + k] = words[k]
    shard[SHARD_GATE] = record[RECORD_GATE]
    shard[SHARD_FIRST] = record[RECORD_NEXT]
    shard[SHARD_LAST] = min(record[RECORD_NEXT] + record[RECORD_CHUNK], record[RECORD_LAST])
    sync = i8ptr(place[PLACE_SYNC])
    sync[SYNC_REASON] = 0
    sync[SYNC_DONE] = 0
    return 0
'''

TRAIN_MEMBERS = '''
def train_members(context):
    """Work for members until none is free; gives the steps that were finished."""
    place = i8ptr(context)
    queue = place[PLACE_QUEUE]
    sync = place[PLACE_SYNC]
    total = 0
    while load_acquire(sync + 8 * SYNC_STOP) == 0:
        member = take_member(queue)
        if member == 0:
            break
        record = i8ptr(member)
        settle(context, member)
        gate = record[RECORD_GATE]
        if gate != 0:
            atomic_add(gate + 8 * GATE_FITTING, 1)
        done = train(place[PLACE_SHARD])
        if gate != 0:
            reopen(gate)
        record[RECORD_NEXT] += done
        reason = i8ptr(sync)[SYNC_REASON]
        record[RECORD_REASON] = reason
        state = FREE
        if reason != 0 or record[RECORD_NEXT] >= record[RECORD_LAST]:
            state = OVER
        store_release(member + 8 * RECORD_CLAIM, state)
        atomic_add(queue + 8 * QUEUE_DONE, done)
        total += done
    return total
'''


@once
def train_members(tools: Toolchain) -> NativeFunction:
    """i64 train_members(place), compiled or from the cache."""
    layouts = {
        "QUEUE": Queue, "RECORD": Record, "PLACE": Place, "SHARD": Shard, "SYNC": Sync,
        "GATE": Gate,
    }  # fmt: skip
    names = {f"{prefix}_{m.name}": m.value for prefix, kind in layouts.items() for m in kind}
    names |= {"FREE": FREE, "TAKEN": TAKEN, "OVER": OVER, "VARIANT_WORDS": VARIANT_WORDS}
    take = word_function(tools, "take_member", TAKE, of_words(1), names)
    settle = word_function(tools, "settle", SETTLE, of_words(2), names)
    called = {
        "take_member": take.external,
        "settle": settle.external,
        "train": worker(tools).train.external,
        "reopen": reopen(tools),
    }
    return word_function(tools, "train_members", TRAIN_MEMBERS, of_words(1), names, called)
