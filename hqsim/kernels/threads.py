"""Work shared among threads: one task for every thread, the counts that they return added.

A task is an ordinary helper, compiled once; handing it to numba's threads takes a few lines of LLVM code.
Numba's own parallel loops compile all that they contain three times over, which was half of a cold start.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import Status, errcode_t, excinfo_ptr_t

from hqsim.kernels.jit import helper, thread_count
from hqsim.kernels.lanes import SIZE, lane_intrinsic

_BYTES, _SIZES = ir.IntType(8).as_pointer(), SIZE.as_pointer()
_THREADS, _ARGUMENTS, _TOTAL, _CODE, _ERROR = range(5)
"""What the threads share: how many they are, the arguments, the sum of counts, what a task raised."""

# Starts numba's threads: compiled code refers to their functions, also when it comes from the cache.
thread_count()


@helper
def part_of(worker, threads, units):
    """Return the first unit of a worker, and of the next one."""
    return worker * units // threads, (worker + 1) * units // threads


@helper
def run_at(begin, end, run, pitch):
    """Return where element ``begin`` lies, and how many elements before ``end`` follow it there.

    Elements lie in runs of ``run``, from one to the next ``pitch``.
    """
    column = begin % run
    return begin // run * pitch + column, min(run - column, end - begin)


def _field(builder, shared, position):
    return cgutils.gep_inbounds(builder, shared, 0, position)


def _emit_runner(context, module, task, shared_type):
    """Return the function that numba's threads call; it runs the task of the workers that it is given.

    Numba splits arrays: ours starts at address 0, its elements have one byte, so addresses are workers.
    """
    kind = ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), _SIZES, _SIZES, _BYTES])
    runner = ir.Function(module, kind, module.get_unique_name("share"))
    runner.linkage = "internal"
    builder = ir.IRBuilder(runner.append_basic_block())
    first, count = builder.ptrtoint(builder.load(runner.args[0]), SIZE), builder.load(runner.args[1])
    shared = builder.bitcast(runner.args[3], shared_type.as_pointer())
    threads, arguments = (builder.load(_field(builder, shared, place)) for place in (_THREADS, _ARGUMENTS))
    with cgutils.for_range(builder, count) as loop:
        worker = builder.add(first, loop.index)
        values = [worker, threads, *cgutils.unpack_tuple(builder, arguments)]
        status, result = context.call_internal_no_propagate(builder, task.fndesc, task.signature, values)
        if task.signature.return_type == types.int64:
            builder.atomic_rmw("add", _field(builder, shared, _TOTAL), result, "monotonic")
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.code, _field(builder, shared, _CODE))
            builder.store(status.excinfoptr, _field(builder, shared, _ERROR))
    builder.ret_void()
    return runner


def _emit_team_size(builder):
    """Return how many of numba's threads may be used now."""
    kind = ir.FunctionType(SIZE, [])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "get_num_threads"), [])


@lane_intrinsic(thread_count)
def team_size(typing_context):
    """Return how many threads may be used now."""
    return types.int64(), lambda context, builder, signature, values: _emit_team_size(builder)


def _emit_call(builder, runner, threads, shared):
    """Let numba's threads call ``runner`` for the workers below ``threads``; a single one runs at once."""
    module = builder.module
    start = cgutils.get_or_insert_function(
        module, ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [SIZE] * 3), "numba_parallel_for"
    )
    arrays, sizes, pitches = (
        builder.bitcast(cgutils.alloca_once_value(builder, value), _BYTES)
        for value in (_BYTES(None), threads, SIZE(1))
    )
    shared = builder.bitcast(shared, _BYTES)
    with builder.if_else(builder.icmp_signed("==", threads, SIZE(1))) as (alone, together):
        with alone:
            arguments = zip((arrays, sizes, pitches, shared), runner.function_type.args, strict=True)
            builder.call(runner, [builder.bitcast(value, kind) for value, kind in arguments])
        with together:
            runner, team = builder.bitcast(runner, _BYTES), _emit_team_size(builder)
            builder.call(start, [runner, arrays, sizes, pitches, shared, SIZE(0), SIZE(1), team])


def _plain_share(task, threads, arguments):
    return sum(task(worker, threads, *arguments) or 0 for worker in range(threads))


@lane_intrinsic(_plain_share)
def share(typing_context, task, threads, arguments):
    """Run ``task(worker, threads, *arguments)`` for every worker below ``threads``, on numba's threads.

    ``task`` is a helper that returns nothing or an int64. Returns the sum, raises what a task raised.
    """
    called = task.get_call_type(typing_context, (types.int64, types.int64, *arguments.types), {})

    def generate(context, builder, signature, values):
        _, threads, arguments = values
        compiled = task.dispatcher.get_compile_result(called)
        context.add_linking_libs([compiled.library])
        nothing = [SIZE(0), errcode_t(0), excinfo_ptr_t(None)]
        shared = cgutils.alloca_once_value(
            builder, cgutils.pack_struct(builder, [threads, arguments, *nothing])
        )
        runner = _emit_runner(context, builder.module, compiled, shared.type.pointee)
        _emit_call(builder, runner, threads, shared)
        total, code, error = (builder.load(_field(builder, shared, at)) for at in (_TOTAL, _CODE, _ERROR))
        with cgutils.if_unlikely(builder, builder.icmp_signed("!=", code, errcode_t(0))):
            raised = Status(code, *[None] * 6, error)
            context.call_conv.return_status_propagate(builder, raised)
        return total

    return types.int64(task, types.int64, arguments), generate
