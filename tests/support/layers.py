"""The folders of the package from the bottom up, and what each of them may import."""

from __future__ import annotations

CODE = {"native", "errors"}
GRAPHS = {"graph", "ops", "errors"}

# From the bottom up, what each folder of `staticflow` may import; "" is the face, `staticflow`.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "data": set(),
    "init": {"errors"},
    "native": {"errors"},
    "graph": {"init", "errors"},
    "ops": {"graph", *CODE},
    "autodiff": GRAPHS,
    "optim": GRAPHS,
    "compiler": {"graph", *CODE, "ops"},  # only `formula` takes ops, see below
    "runtime": {"compiler", "optim", "init", *GRAPHS, *CODE},
    "training": {"runtime", "compiler", "autodiff", "optim", *GRAPHS, *CODE},
    "session": {"training", "runtime", "compiler", "autodiff", "optim", *GRAPHS, *CODE},
    "": {"session", "compiler", "autodiff", "optim", "init", *GRAPHS, "models"},
    "models": {"", "ops", "init", "optim", "errors", "graph", "session"},
    "cli": {
        "",
        "data",
        "models",
        "session",
        "compiler",
        "autodiff",
        "optim",
        *GRAPHS,
    },
    "__main__": {"cli"},
}

# Within three of them, from the bottom up: "" are the modules that lie in no folder of theirs.
NATIVE = {
    "memory": set(), "toolchain": {"memory"}, "gemm": {"toolchain", "memory"},
    "math": {"toolchain"}, "linalg": {"toolchain", "gemm"},
    "routines": {"toolchain", "gemm", "linalg", "memory"},
    "kernel_names": {"toolchain", "math", "routines"},
    "threads": {"toolchain", "gemm", "routines", "kernel_names", "memory"},
    "training": {"toolchain", "gemm", "kernel_names", "threads", "memory"},
    "calls": {"toolchain", "threads", "training", "memory"},
}  # fmt: skip
COMPILER = {
    "ir": set(), "passes": {"ir"}, "lowering": {"ir", "passes"}, "codegen": {"ir", "lowering"},
    "schedule": {"ir", "passes", "lowering", "codegen"}, "formula": {"passes"},
    "cost_model": {"ir", "lowering"}, "sharing": {"ir", "lowering"},
    "pipeline": {"ir", "passes", "lowering", "schedule", "codegen"},
    "compile": {"ir", "passes", "lowering", "schedule", "codegen", "pipeline"},
    "verify": {"ir", "passes", "lowering", "schedule", "pipeline"},
    "tracing": {"ir", "codegen", "pipeline", "compile", "verify"},
}  # fmt: skip
SESSION = {
    "report": set(), "exports": set(), "derivation": set(), "calculator": set(), "state": set(),
    "run": {"report", "state"}, "files": {"state"}, "explain": {"run", "state"},
    "profile": {"run", "state"}, "live": {"run", "state"}, "jit": {"run", "state"},
    "function": {"files"}, "check_grad": {"calculator"},
    "session": {"report", "exports", "state", "run", "files", "explain", "profile", "live", "jit"},
    "ensemble": {"report", "state", "run", "live", "session"},
    "drawing": {"calculator", "session"},
    # Files of other frameworks and languages, of whole sessions: `exports` leads there by name.
    "interchange": {"calculator", "ensemble", "files", "function", "run", "session", "state"},
}  # fmt: skip
