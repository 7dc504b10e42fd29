"""Who runs the shards of a step: one thread all of them, or several threads at once.

    lead      alone alone | together ......... | alone (trial) | together ...... | over
    follow    asleep      | together ......... | looks, sleeps | together ...... | over

The number of shards follows from sizes, and so do the bits of what they compute. Who runs them does
not matter to the result, and is decided while running, from what steps are measured to take: a
second thread may have no core, a far one, or one that another process wants. The first thread
leads. It opens spans of steps to the others, or runs a span alone; whichever takes less time a step
goes on, and the other way is tried again now and then, more rarely the more such trials have cost.
A trial is a few short spans, of which the first does not count: what the threads work on lies in
the caches of whoever had it before. It waits for a thread that is not there for a small part of
a step at most, and goes on alone until all look out for a span.

A thread that is woken often begins on the processor of the one that woke it, and stays there for
milliseconds, while both take turns. So threads that look out for a span leave the first one's
processor, where the system lets them choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from staticflow.native.toolchain.objects import External, NativeFunction, Signature
from staticflow.native.toolchain.word_function import called
from staticflow.native.training.places import CHOOSES, SYSTEM, with_places

# In cycles of the processor's clock, some 3 of which are a nanosecond.
SPAN = 3_000_000  # of steps that are measured together
TRIAL = 400_000
LEAST_PAUSE, MOST_PAUSE = 30_000_000, 300_000_000  # between trials of the other way
SPANS = 5  # of a trial
LONG = 6_000_000  # a span beside which caches do not count, and which tells enough
HOPELESS = 8  # a trial ends at a span that took so many times what the other way does
EXPENSE = 64  # a trial that cost more than the way that was left is paid for by so many times it
PATIENCE = 6_000_000  # until threads that were woken and are not there count as absent
SPAN_LOOKS, SPAN_YIELDS = 1000, 40  # of one who waits for a span, before he sleeps
SLEEP_US = 50_000  # until he looks by himself

LEAD = '''
def lead(context):
    """Run all steps, with the other threads or alone; gives how many were finished."""
    shard = i8ptr(context)
    sync = shard[SHARD_SYNC]
    words = i8ptr(sync)
    first = shard[SHARD_FIRST]
    last = shard[SHARD_LAST]
    while first < last:
        way = choose(context)
{here}
        known = shard[SHARD_COST + way]
        span = SPAN
        if shard[SHARD_TRYING] != 0 or shard[SHARD_CALLED] != 0:
            span = TRIAL
        if known == 0 and shard[SHARD_TRYING] > 1:
            known = shard[SHARD_BEST]
        if known == 0:
            known = shard[SHARD_COST + 1 - way]
        if known == 0:
            known = TRIAL // 2
        count = min(last - first, max(1, span // known))
        began = cycles()
        if way == TOGETHER:
            if shard[SHARD_TRYING] == 1:  # as if nobody had lost a core before
                for k in range(shard[SHARD_PARTIES]):
                    i8ptr(i8ptr(shard[SHARD_TEAM])[k])[SHARD_SLEEPS] = 0
            words[SYNC_SPAN_FIRST] = first
            words[SYNC_SPAN_END] = first + count
            store_release(sync + 8 * SYNC_SPAN, words[SYNC_SPAN] + 1)
            atomic_add(sync + 8 * SYNC_ALARM, 1)
            if load_acquire(sync + 8 * SYNC_SLEEPING) != 0:
                wake_all(sync + 8 * SYNC_ALARM)
            done = steps(context, first, first + count, shard[SHARD_PARTIES])
            looks = 0
            left = words[SYNC_SPAN] * (shard[SHARD_PARTIES] - 1)
            while load_acquire(sync + 8 * SYNC_LEFT) != left:  # their shards are in use
                looks += 1
                if looks < SPAN_LOOKS:
                    pause()
                else:
                    yield_processor()
        else:
            done = steps(context, first, first + count, 1)
        if done < count:
            break
        measure(context, way, count, cycles() - began)
        first += count
    store_release(sync + 8 * SYNC_OVER, 1)
    atomic_add(sync + 8 * SYNC_ALARM, 1)
    wake_all(sync + 8 * SYNC_ALARM)
    return words[SYNC_DONE]
'''

CHOOSE = '''
def choose(context):
    """The way that takes less, or the other one when it is time to try it; alone while others that
    were called are not there. Those who do not come count as slow.
    """
    shard = i8ptr(context)
    sync = shard[SHARD_SYNC]
    together = shard[SHARD_COST + TOGETHER]
    alone = shard[SHARD_COST + ALONE]
    now = cycles()
    way = TOGETHER
    if together != 0 and together >= alone:
        way = ALONE
    if together != 0 and alone != 0:
        if shard[SHARD_TRYING] == 0 and shard[SHARD_TIME] >= shard[SHARD_TRIAL_AT]:
            shard[SHARD_TRYING] = 1
        if shard[SHARD_TRYING] != 0:
            way = 1 - way
    elif shard[SHARD_TRYING] == 0:
        shard[SHARD_TRYING] = 1
    if way == ALONE or load_acquire(sync + 8 * SYNC_LOOKING) == shard[SHARD_PARTIES] - 1:
        shard[SHARD_CALLED] = 0
        store_release(sync + 8 * SYNC_CALLING, 0)
        return way
    if shard[SHARD_CALLED] == 0:
        shard[SHARD_CALLED] = now
    store_release(sync + 8 * SYNC_CALLING, 1)
    if load_acquire(sync + 8 * SYNC_SLEEPING) != 0:
        atomic_add(sync + 8 * SYNC_ALARM, 1)
        wake_all(sync + 8 * SYNC_ALARM)
    longest = TRIAL // 4 if alone == 0 else alone // 16
    while cycles() - now < longest:
        if load_acquire(sync + 8 * SYNC_LOOKING) == shard[SHARD_PARTIES] - 1:
            shard[SHARD_CALLED] = 0
            store_release(sync + 8 * SYNC_CALLING, 0)
            return way
        pause()
    if now - shard[SHARD_CALLED] > PATIENCE and alone != 0:
        shard[SHARD_CALLED] = 0
        store_release(sync + 8 * SYNC_CALLING, 0)
        shard[SHARD_TRYING] = 0
        shard[SHARD_COST + TOGETHER] = 2 * alone
        shard[SHARD_PAUSE] = min(max(2 * shard[SHARD_PAUSE], LEAST_PAUSE), MOST_PAUSE)
        shard[SHARD_TRIAL_AT] = shard[SHARD_TIME] + shard[SHARD_PAUSE]
    return ALONE
'''

MEASURE = '''
def measure(context, way, count, took):
    """Note what steps have taken, and when to try the other way."""
    shard = i8ptr(context)
    cost = max(1, took // count)
    before = shard[SHARD_COST + way]
    other = shard[SHARD_COST + 1 - way]
    shard[SHARD_STEPS + way] += count
    shard[SHARD_TIME] += took
    number = shard[SHARD_TRYING]
    if number == 0:
        shard[SHARD_COST + way] = (3 * before + cost) // 4
        return 0
    if shard[SHARD_CALLED] != 0:  # alone, while those who were called for a trial are on their way
        if before == 0:
            shard[SHARD_COST + way] = cost
        return 0
    if number == 1:
        shard[SHARD_SPENT] = 0
    if other != 0:
        shard[SHARD_SPENT] += took - count * other
    if number <= 2 or cost < shard[SHARD_BEST]:
        shard[SHARD_BEST] = cost
    if number < SPANS and took < LONG and (other == 0 or cost < HOPELESS * other):
        shard[SHARD_TRYING] = number + 1
        return 0
    shard[SHARD_TRYING] = 0
    shard[SHARD_COST + way] = shard[SHARD_BEST]
    pause = LEAST_PAUSE
    if before != 0 and shard[SHARD_BEST] >= other:
        pause = min(max(2 * shard[SHARD_PAUSE], LEAST_PAUSE), MOST_PAUSE)
    shard[SHARD_PAUSE] = pause
    shard[SHARD_TRIAL_AT] = shard[SHARD_TIME] + max(pause, EXPENSE * max(0, shard[SHARD_SPENT]))
    return 0
'''

FOLLOW = '''
def follow(context):
    """Take part in the spans that the first thread opens; gives the steps finished in the end."""
    shard = i8ptr(context)
    sync = shard[SHARD_SYNC]
    words = i8ptr(sync)
    seen = 0
    looks = 0
{own}
    atomic_add(sync + 8 * SYNC_LOOKING, 1)
    while load_acquire(sync + 8 * SYNC_OVER) == 0:
        if load_acquire(sync + 8 * SYNC_SPAN) != seen:
            atomic_add(sync + 8 * SYNC_LOOKING, -1)
            seen += 1
            looks = 0
            steps(context, words[SYNC_SPAN_FIRST], words[SYNC_SPAN_END], shard[SHARD_PARTIES])
            atomic_add(sync + 8 * SYNC_LOOKING, 1)
            atomic_add(sync + 8 * SYNC_LEFT, 1)
{apart}
        looks += 1
        if looks < SPAN_LOOKS:
            pause()
        elif looks < SPAN_LOOKS + SPAN_YIELDS or load_acquire(sync + 8 * SYNC_CALLING) != 0:
            yield_processor()  # who calls looks only between its steps
        else:
            alarm = load_acquire(sync + 8 * SYNC_ALARM)
            atomic_add(sync + 8 * SYNC_LOOKING, -1)
            atomic_add(sync + 8 * SYNC_SLEEPING, 1)
            # Who opens a span afterwards sees a sleeper; who opened one before is seen here.
            if load_acquire(sync + 8 * SYNC_SPAN) == seen:
                if load_acquire(sync + 8 * SYNC_OVER) == 0:
                    wait_while(sync + 8 * SYNC_ALARM, alarm, SLEEP_US)
            atomic_add(sync + 8 * SYNC_SLEEPING, -1)
            atomic_add(sync + 8 * SYNC_LOOKING, 1)
            looks = 0
{back}
    return words[SYNC_DONE]
'''

NAMES = {
    "ALONE": 0, "TOGETHER": 1, "SPAN": SPAN, "TRIAL": TRIAL,
    "SPANS": SPANS, "LONG": LONG, "HOPELESS": HOPELESS, "EXPENSE": EXPENSE,
    "LEAST_PAUSE": LEAST_PAUSE, "MOST_PAUSE": MOST_PAUSE,
    "PATIENCE": PATIENCE, "SPAN_LOOKS": SPAN_LOOKS, "SPAN_YIELDS": SPAN_YIELDS,
    "SLEEP_US": SLEEP_US,
}  # fmt: skip


class Team(NamedTuple):
    """The roles of a run's threads, each i8 (context)."""

    lead: NativeFunction  # of the first
    follow: NativeFunction  # of the others


def team_functions(kernel: Callable[..., NativeFunction], steps: NativeFunction) -> Team:
    """The functions, by what makes the worker's kernels. Runs of one shard never need them."""
    one = Signature("i8", ("i8",))

    def placed(name: str, text: str, **externals: External) -> NativeFunction:
        source = with_places(text, CHOOSES)
        used = called(source, SYSTEM) if CHOOSES else {}
        return kernel(name, source, one, **externals, **used)

    measure = kernel("measure", MEASURE, Signature("i8", ("i8",) * 4)).external
    choose = kernel("choose", CHOOSE, one).external
    lead = placed("lead", LEAD, steps=steps.external, choose=choose, measure=measure)
    return Team(lead, placed("follow", FOLLOW, steps=steps.external))
