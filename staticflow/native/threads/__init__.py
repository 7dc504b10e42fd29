"""Helper threads of one call or one product, how they wait, and who waits for whole steps.

`pool` is the mechanism, `call_pool` and `product_pool` are its policies. May import: toolchain,
gemm, routines, memory.
"""
