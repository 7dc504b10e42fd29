#!/usr/bin/env bash
# Surprise: clang 14 at -O2 takes what `restrict` promises for one call for a promise about all calls
#   of a loop. A function reads row k and writes row k + 1 through two restrict pointers, and is
#   called for k = 0 to 3: every row becomes row 1, "1 1 1 1" where "1 2 3 4" is right.
# Versions: clang 14.0.6 (Debian 12, x86-64); right at -O0, -O1 and -O3, and with gcc 12 at -O3.
# Guess that fails: C99 bounds the promise by the block of the parameter, the body of one call
#   (6.7.3.1), so a value that the next call reads through the other pointer is nobody's business.
# Why: the function is inlined, and its loop of calls unrolled, and loads of the next row pass stores
#   of the last; the address sanitizer and the one for undefined behaviour have nothing to say.
# Matters to whoever generates C for recurrences, whose steps read what the last has written.
# Way round: no restrict on pointers of functions that are called in such loops.
# Needs a clang of that version: apt-get install clang on Debian 12.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/rows.c" <<'C'
#include <stdio.h>

static void next(const float *restrict x, const float *restrict before, float *restrict after,
                 float *restrict y) {
    float sum = 0.0f;
    for (int i = 0; i < 8; ++i) sum += x[i];
    for (int i = 0; i < 8; ++i) {
        const float v = before[i] + sum;
        after[i] = v;
        y[i] = x[i] + v;
    }
}

void run(const float *x, float *h, float *y) {
    for (int k = 0; k < 4; ++k) next(x + k * 8, h + k * 8, h + (k + 1) * 8, y + k * 8);
}

int main(void) {
    static float x[32], h[40], y[32];
    for (int i = 0; i < 32; ++i) x[i] = 0.125f;
    run(x, h, y);
    printf("%g %g %g %g\n", h[8], h[16], h[24], h[32]);
    return 0;
}
C
clang --version | head -1
for level in -O0 -O1 -O2 -O3; do
    clang -std=c99 "$level" "$work/rows.c" -o "$work/rows"
    echo "$level: $("$work/rows")"
done
clang -std=c99 -O2 "$work/rows.c" -o "$work/rows"
test "$("$work/rows")" = "1 1 1 1"
