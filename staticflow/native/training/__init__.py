"""The loop that every shard runs, its tables, and what shards make together.

In: tables of words (`layout`). Out: steps that are done. May import: toolchain, gemm, threads,
memory.
"""
