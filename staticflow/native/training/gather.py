"""How a batch's rows come to where a shard's program reads them."""

from __future__ import annotations

GATHER = '''
def gather(context, variant, batch):
    """Bring this shard's rows of a batch to where the program reads them."""
    shard = i8ptr(context)
    epoch = batch // shard[SHARD_BATCHES]
    first = (batch - epoch * shard[SHARD_BATCHES]) * shard[SHARD_BATCH_ROWS]
    first += shard[variant + VARIANT_BEGIN]
    rows = shard[variant + VARIANT_ROWS]
    order = shard[SHARD_PERMUTATION]
    if order != 0:
        order += 8 * (epoch * shard[SHARD_DATA_ROWS] + first)
    for k in range(shard[SHARD_INPUT_COUNT]):
        record = i8ptr(shard[SHARD_INPUTS] + 8 * k * INPUT_WORDS)
        size = record[INPUT_ROW_BYTES]
        whole = variant == SHARD_WHOLE
        entry = record[INPUT_WHOLE_ENTRY] if whole else record[INPUT_LAST_BATCH_ENTRY]
        if order == 0 and entry != 0:
            i8ptr(entry)[0] = record[INPUT_SOURCE] + first * size
        else:
            for outer in range(record[INPUT_OUTER]):
                source = record[INPUT_SOURCE] + outer * record[INPUT_SOURCE_STRIDE]
                target = record[INPUT_TARGET] + outer * rows * size
                if order != 0:
                    gather_rows(source, size, target, order, rows)
                else:
                    copy_bytes(target, source + first * size, rows * size)
'''

GATHER_ROWS = '''
def gather_rows(source, size, target, order, rows):
    """Copy rows by their numbers. Short rows go word by word: calls of memcpy would cost more."""
    numbers = i8ptr(order)
    if size == 4:
        words = i4ptr(source)
        out = i4ptr(target)
        for i in range(rows):
            out[i] = words[numbers[i]]
    elif size <= 128 and size % 8 == 0:
        count = size // 8
        for i in range(rows):
            row = i8ptr(source + numbers[i] * size)
            out_row = i8ptr(target + i * size)
            for j in range(count):
                out_row[j] = row[j]
    else:
        for i in range(rows):
            copy_bytes(target + i * size, source + numbers[i] * size, size)
'''
