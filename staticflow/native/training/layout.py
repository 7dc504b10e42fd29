"""The tables that the native training worker reads, as named offsets in int64 words.

Each shard has one table of `SHARD_WORDS` words (`Shard`), and the shards of a run share one block
of `SYNC_WORDS` words (`Sync`). All entries are int64; addresses are plain integers, and whoever
fills a table keeps the arrays behind its addresses alive. Records hang off the shard's table:
`InputRecord` (one per array gathered by rows) and `Gradient` (one per flat gradient array).

A run goes through the batches FIRST ... LAST-1 of a data set that is passed over EPOCHS times;
batch k is batch k % BATCHES of epoch k // BATCHES. The last batch of an epoch may be smaller: it
has its own `Variant` of the program's tables.
"""

from __future__ import annotations

from enum import IntEnum


class Shard(IntEnum):
    """The table of one shard."""

    INDEX = 0  # this shard's number
    SHARDS = 1  # how many shards run together
    SYNC = 2  # address of the sync block
    PHASE = 3  # barriers passed; the worker's own, 0 at the start of a run
    FIRST = 4  # the first batch to train on
    LAST = 5  # the batch to stop before
    BATCHES = 6  # batches in an epoch
    BATCH_ROWS = 7  # rows of a whole batch, over all shards
    DATA_ROWS = 8  # rows of the data
    RAGGED = 9  # 1 when the last batch of an epoch is smaller
    PERMUTATION = 10  # int64[EPOCHS, DATA_ROWS]: row numbers in order; 0 means in order of the data
    STEP_CELL = 11  # int64 that is set to the step's number before each batch; 0 when nobody asks
    STEP_BASE = 12  # the number of the step of batch 0
    STEP = 13  # i64 step(i64 T, i64 S): forward and backward; nonzero means give up (see Reason);
    # 0 for an update alone, of gradients that are there
    UPDATE = 14  # i64 update(i64 T, i64 S) of this shard's slice; 0 when nothing is trained
    UPDATE_T = 15
    UPDATE_S = 16
    INPUTS = 17  # address of the `InputRecord` records
    INPUT_COUNT = 18
    GRADIENTS = 19  # address of the `Gradient` records
    GRADIENT_COUNT = 20
    METRICS = 21  # float64[METRIC_COUNT]: what `step` leaves of loss and metrics for its rows
    METRIC_COUNT = 22
    METRIC_SUMS = 23  # float64[EPOCHS, METRIC_COUNT]: this shard's sums over the batches
    OWN = 24  # i64 own_products(i64 records, i64 count); 0 when no product waits for its owner
    SLEEPS = 25  # at so many barriers to come it sleeps instead of giving way; its own
    REST = 26  # what SLEEPS was last set to
    LOST = 27  # the barrier at which it last lost its core
    GATE = 28  # address of the session's `gate.Gate`, for the first shard; 0 for the others
    WATCH = 29  # whether a loss that is NaN ends the run before the update
    TOTAL = 30  # address of the `Total` record; 0 where every batch has an update of its own
    PARTIES = 31  # how many threads run the shards: the first has 0, PARTIES, 2 PARTIES, ...
    WHOLE = 32  # the `Variant` for whole batches
    LAST_BATCH = 40  # the `Variant` for the smaller last batch
    # What the first thread knows of the ways to run a step, see `team`; kept from run to run.
    COST = 56  # cycles a step, alone and together; 0 before they are measured
    STEPS = 58  # steps that were run alone, and together
    TRIAL_AT = 60  # when to try the other way, in the time of TIME
    PAUSE = 61  # cycles between trials
    TRYING = 62  # the number of the span under way of those that try a way; 0 without a trial
    CALLED = 63  # in cycles: since when threads that were called are waited for, or 0
    TIED = 64  # whether shards wait for each other within a step, so that each needs a thread
    TEAM = 65  # address of int64[SHARDS]: the tables of all shards
    ROLE = 66  # i64 role(i64 context): `lead` or `follow` of `team`; 0: run all steps
    BEST = 67  # cycles a step in the best span of the trial
    SPENT = 68  # cycles that the trial has cost more than the other way
    TIME = 69  # cycles that all spans have taken


class Variant(IntEnum):
    """What differs between a whole batch and a smaller one, from `Shard.WHOLE` or `LAST_BATCH`."""

    T = 0  # address of the program's table of buffers
    S = 1  # address of the program's table of sizes
    BEGIN = 2  # the first of this shard's rows within the batch
    ROWS = 3  # how many rows it has
    OWNED = 4  # address of the `Owned` records
    OWNED_COUNT = 5
    PARTS = 6  # address of the records of `Parts`, for a product made in parts; 0 without one


class InputRecord(IntEnum):
    """An array whose rows are gathered into the shard's batch."""

    SOURCE = 0  # address of row 0
    ROW_BYTES = 1
    TARGET = 2  # where the shard's rows go, one after the other
    # Without a permutation the rows lie together: then these words are pointed at them and nothing
    # is copied (the words are entries of the program's tables T); 0 means copy all the same.
    WHOLE_ENTRY = 3
    LAST_BATCH_ENTRY = 4
    # An array whose rows lie along an inner axis has them once for each element before that axis.
    OUTER = 5  # how many times; 1 where rows are the leading axis
    SOURCE_STRIDE = 6  # bytes from one time to the next, in the data


class Gradient(IntEnum):
    """A flat gradient array, one per shard; the shards' arrays are added up into the first."""

    ITEM_BYTES = 0  # 4: float32, 8: float64
    BEGIN = 1  # this shard's slice, in items; slices that start at cache lines (64 bytes) are best
    END = 2
    PARTS = 3  # address of int64[SHARDS]: the addresses of the shards' arrays


class Owned(IntEnum):
    """A product of rows that this shard owns, over the rows of the batch that one shard holds.

    Operands are where a word of that shard's table T says, plus an offset; strides are in elements.
    """

    M = 0
    N = 1
    K = 2
    A_SLOT = 3  # address of the word
    A_OFFSET = 4  # bytes
    A_ROW = 5
    A_COLUMN = 6
    B_SLOT = 7
    B_OFFSET = 8
    B_ROW = 9
    B_COLUMN = 10
    C = 11  # address
    C_ROW = 12
    ADD = 13  # 0 for the first shard's rows, which begin the sum
    WORK = 14  # address of the scratch memory of the matrix product


class Parts(IntEnum):
    """A product that shards make in parts of its sum before the program runs."""

    PRODUCTS = 0  # address of `Owned` records: this shard's part of every shard's rows
    COUNT = 1
    PARTS = 2  # address of int64[SHARDS]: the parts of this shard's rows, its own first
    ITEMS = 3  # in each of them
    ITEM_BYTES = 4


class Total(IntEnum):
    """The gradients of a group of batches, which have one update: see `accumulation`."""

    GROUP = 0  # batches in a group; the last one of an epoch may have fewer
    ROWS = 1  # rows so far, over all shards; the worker's own, 0 at the start of a group
    ARRAY = 2  # address of the shard's total
    GRADIENT = 3  # address of its gradient, of the same items
    ITEMS = 4
    ITEM_BYTES = 5
    STATES = 6  # address of the `StateCopy` records
    STATE_COUNT = 7
    ADD = 8  # address of `accumulate`
    NUMBER = 9  # of `step_number`


class StateCopy(IntEnum):
    """A state and its next value."""

    TARGET = 0
    SOURCE = 1
    BYTES = 2


class Sync(IntEnum):
    """The block that the shards of a run share. Zeroed before each run."""

    ARRIVED = 0  # how often any shard has come to a barrier
    SLEEPERS = 1  # how many shards sleep at one; who comes last has this line already
    RELEASED = (
        16  # how many barriers have been passed by all; this and the next have their own line
    )
    STOP = 32  # set to 1 to end the run before the next step
    REASON = 48  # why it ended (`Reason`); nonzero also frees those who wait at a barrier
    DONE = 64  # steps finished, for progress
    SPAN = 80  # counts the spans of steps that all threads run
    ALARM = 81  # changes when there is something to look for
    SPAN_FIRST = 82
    SPAN_END = 83
    OVER = 84  # there will be no more
    LOOKING = 85  # how many threads look out for one
    SLEEPING = 86  # how many sleep until ALARM changes
    LEFT = 87  # how often a thread has left one
    CALLING = 89  # whether the first thread waits until all look out for a span
    LEAD_CPU = 88  # one more than the number of the processor that the first thread runs on, or 0


class Reason(IntEnum):
    """Why a run ended. What `step` returns is one of these, or an error code of its own (> 3)."""

    FINISHED = 0
    STOPPED = 1
    ABORTED = 2
    NAN = 3  # the loss of the step after the last one done


SHARD_WORDS = 72
INPUT_WORDS = 7
GRADIENT_WORDS = 4
OWNED_WORDS = 15
PARTS_WORDS = 5
TOTAL_WORDS = 10
STATE_WORDS = 3
SYNC_WORDS = 96
