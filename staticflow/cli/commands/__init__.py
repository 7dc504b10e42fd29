"""The commands, a file each: `run(options)` gives the exit code. May import: cli and below."""
