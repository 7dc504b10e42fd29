"""Write the steps that are a call of something compiled: kernels, products, routines."""

from __future__ import annotations

from staticflow.compiler.codegen.driver import CollectiveCall, Driver, EpilogueText
from staticflow.compiler.codegen.driver_abi import HEADER, OWNER_BITS, POOL, STOP
from staticflow.compiler.codegen.kernels import kernel_name
from staticflow.compiler.ir.steps import (
    CallStep,
    CollectiveStep,
    Epilogue,
    KernelStep,
    Operand,
    PackStep,
    ProductStep,
)
from staticflow.compiler.lowering.buffers import ITEMSIZE, SUFFIX
from staticflow.native.gemm.products import PIECE
from staticflow.native.routines.table import polls
from staticflow.native.threads.product_pool import SHARED
from staticflow.native.toolchain.objects import TypedName


def emit_kernel(driver: Driver, step: KernelStep) -> None:
    name = kernel_name(step.kernel)
    driver.kernels[name] = step.kernel
    arguments = [driver.address(b, o) for b, o in step.pointers]
    arguments += [driver.size(n) for n in step.sizes]
    driver.write(driver.call(name, arguments))


def emit_product(driver: Driver, step: ProductStep) -> None:
    suffix = SUFFIX[step.dtype]
    name = TypedName("shared_gemm" if driver.pool else "gemm", suffix)
    driver.products.add(name)
    depth = driver.write.depth
    if step.owner_bit:
        driver.write(f"if T[{OWNER_BITS}] & {step.owner_bit} == 0:")
        driver.write.depth += 1
    extras = ["", "", ""]
    for level, extent in enumerate(step.batch):
        driver.write(f"for b{level} in range({driver.size(extent)}):")
        driver.write.depth += 1
        for which, operand in enumerate((step.a, step.b, step.c)):
            if operand.batch[level] != 0:
                stride = driver.size(operand.batch[level])
                extras[which] += f" + b{level} * ({stride}) * {ITEMSIZE[step.dtype]}"
    sizes = [driver.size(n) for n in (step.m, step.n, step.k)]

    def operand_text(operand: Operand, extra: str) -> list[str]:
        address = driver.address(*operand.place, extra)
        return [address, driver.size(operand.row), driver.size(operand.column)]

    a, b = operand_text(step.a, extras[0]), operand_text(step.b, extras[1])
    c = operand_text(step.c, extras[2])[:2]
    if step.epilogue is not None:
        emit_epilogue(driver, step.epilogue, [*sizes, *a, *b, *c])
        driver.write.depth = depth
        if step.split_k:
            with driver.write.block("else:"):
                emit_kernel(driver, step.epilogue.kernel)
        return
    adds = "0" if step.adds_after == 0 else f"1 if {driver.size(step.adds_after)} > 0 else 0"
    last = [adds, driver.work, f"T[{STOP}]", *([f"T[{POOL}]"] if driver.pool else [])]
    if step.panels is not None:
        packed = TypedName("packed_gemm", suffix)
        driver.products.add(packed)
        with driver.write.block(f"if {_has_panels(step.panels)}:"):
            panels = driver.buffer(step.panels)
            driver.write(driver.call(packed, [*sizes, *a, panels, *c, adds]))
        driver.write("else:")
        driver.write.depth += 1
    driver.write(driver.call(name, [*sizes, *a, *b, *c, *last]))
    driver.write.depth = depth


def emit_epilogue(driver: Driver, epilogue: Epilogue, operands: list[str]) -> None:
    """Call the product that does what the kernel would, with what the kernel reads beside C."""
    kernel, tile = epilogue.kernel, epilogue.tile
    name = kernel_name(kernel.kernel)
    driver.kernels[name] = kernel.kernel
    driver.products.add(TypedName("gemm", tile.suffix))
    driver.epilogues[f"gemm_{name}"] = EpilogueText(tile, name)
    places = dict(zip((p for p, _ in kernel.kernel.pointers), kernel.pointers, strict=True))
    beside = [driver.address(*places[p]) for p in tile.others]
    arguments = [*operands, driver.work, f"T[{STOP}]", *beside]
    driver.write(driver.call(f"gemm_{name}", arguments))


def _has_panels(buffer: int) -> str:
    return f"packed{buffer}"


def emit_pack(driver: Driver, step: PackStep) -> None:
    product, suffix = step.product, SUFFIX[step.product.dtype]
    pack = TypedName("pack", suffix)
    driver.products.add(pack)
    sizes = [driver.size(n) for n in (product.m, product.n, product.k)]
    b = [driver.address(*product.b.place), *map(driver.size, (product.b.row, product.b.column))]
    most = SHARED - 1 if driver.pool else PIECE[suffix]
    last = [driver.buffer(step.panels), driver.size(step.count), str(most)]
    driver.write(f"{_has_panels(step.panels)} = {driver.call(pack, [*sizes, *b, *last])}")


def emit_collective(driver: Driver, step: CollectiveStep) -> None:
    call = CollectiveCall(step.combine, driver.buffers[step.target].suffix)
    name = f"all_{call.combine}_{call.suffix}"
    driver.collectives[name] = call
    driver.by_entry |= {step.source, step.target}
    source, target = HEADER + step.source, HEADER + step.target
    combine = driver.call(name, ["T", str(source), str(target), driver.size(step.count)])
    driver.write(f"if {combine} != 0:")
    driver.write("    return 1")


def emit_call(driver: Driver, step: CallStep) -> None:
    driver.calls.add(step.routine)
    arguments = [driver.buffer(b) for b in step.buffers] + [driver.size(n) for n in step.sizes]
    arguments += [driver.work] if step.multiplies else []
    arguments += [f"T[{STOP}]"] if polls(step.routine) else []
    call = driver.call(step.routine, arguments)
    if step.fails:
        driver.write(f"code = {call}")
        driver.write("if code != 0:")
        driver.write("    return code")
        return
    driver.write(call)
    if polls(step.routine):
        driver.poll()  # what it has left undone, orders of rows among it, is not to be read
