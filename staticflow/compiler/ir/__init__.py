"""What passes hand on: size classes, loops with their expressions, steps.

Frozen values without behaviour but walking and printing. May import: graph, native's names, errors.
"""
