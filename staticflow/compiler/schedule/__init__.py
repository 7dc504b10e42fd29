"""Steps to steps: blocks of rows, panels, epilogues, who computes what, memory.

In and out: steps. Each file is one transformation. May import: ir, lowering, codegen's text of
expressions, native, errors.
"""
