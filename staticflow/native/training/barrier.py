"""Where the threads of a training run wait for each other, twice in a step."""

from __future__ import annotations

from staticflow.native.threads.waiting import WORKER_SLEEP_US

# A shard that waits looks for about 1 us whether the others have come, then gives way to whoever
# wants its core. On idle cores it is back at once, and where the shards share a core this is the
# fastest way from one to the other (10 us a step of 16-64-64-1). But another process gets a whole
# slice of time then, some 3 ms. A shard that loses its core so often that sleeping costs less (some
# 8 us a barrier) sleeps at the barriers to come, until the last shard wakes it: who sleeps has the
# core back when he wants it.
LOOKS = 50
LOST_CYCLES, OFTEN = 1_000_000, 400  # barriers from one loss to the next
FEWEST_SLEEPS, MOST_SLEEPS = 512, 1 << 16  # barriers; more if it happens again within FORGET
FORGET = 4096

BARRIER = '''
def barrier(context):
    """Wait for the other threads; 1 when the run is given up instead."""
    shard = i8ptr(context)
    parties = shard[SHARD_PARTIES]
    sync = shard[SHARD_SYNC]
    phase = shard[SHARD_PHASE] + 1
    shard[SHARD_PHASE] = phase
    if atomic_add(sync + 8 * SYNC_ARRIVED, 1) + 1 == phase * parties:
        store_release(sync + 8 * SYNC_RELEASED, phase)
        if atomic_add(sync + 8 * SYNC_SLEEPERS, 0) != 0:
            wake_all(sync + 8 * SYNC_RELEASED)
        return 0
    looks = 0
    while True:
        released = load_acquire(sync + 8 * SYNC_RELEASED)
        if released >= phase:
            break
        if load_acquire(sync + 8 * SYNC_REASON) != 0:
            # a shard may have passed this barrier and given up in the step after it
            return 0 if load_acquire(sync + 8 * SYNC_RELEASED) >= phase else 1
        looks += 1
        if looks < LOOKS:
            pause()
        elif shard[SHARD_SLEEPS] == 0:
            give_way(context)
        else:
            atomic_add(sync + 8 * SYNC_SLEEPERS, 1)
            wait_while(sync + 8 * SYNC_RELEASED, released, WORKER_SLEEP_US)
            atomic_add(sync + 8 * SYNC_SLEEPERS, -1)
    if shard[SHARD_SLEEPS] > 0:
        shard[SHARD_SLEEPS] -= 1
    elif phase % FORGET == 0:
        shard[SHARD_REST] = shard[SHARD_REST] // 2
    return 0
'''

GIVE_WAY = '''
def give_way(context):
    """Let others use this core; sleep at the next barriers if they keep it for long."""
    shard = i8ptr(context)
    began = cycles()
    yield_processor()
    if cycles() - began > LOST_CYCLES:
        phase = shard[SHARD_PHASE]
        if phase - shard[SHARD_LOST] < OFTEN:
            shard[SHARD_REST] = min(max(2 * shard[SHARD_REST], FEWEST_SLEEPS), MOST_SLEEPS)
            shard[SHARD_SLEEPS] = shard[SHARD_REST]
        shard[SHARD_LOST] = phase
'''

NAMES = {
    "LOOKS": LOOKS,
    "LOST_CYCLES": LOST_CYCLES,
    "OFTEN": OFTEN,
    "FEWEST_SLEEPS": FEWEST_SLEEPS,
    "MOST_SLEEPS": MOST_SLEEPS,
    "FORGET": FORGET,
    "WORKER_SLEEP_US": WORKER_SLEEP_US,
}
