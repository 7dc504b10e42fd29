"""Machine code: compiled objects, their disk cache, their loader, and the threads that run them.

Nothing here knows of graphs. Everything compiled is an object file with C symbols; `Toolchain` in
`toolchain` is the way in.
"""
