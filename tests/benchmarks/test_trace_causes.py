"""Causes and times by hand, for a small trace and a small program."""

# Lines of a compiled program are long.
# ruff: noqa: E501

import gzip
import json

import pytest
import trace_causes
from trace_causes import Event, Work

BODY = "jit(train)/while/body/"
LAYER = BODY + "jvp()/while/body/closed_call/"

# The frame above is written with one added, as XLA does.
PROGRAM = f"""HloModule jit_train, is_scheduled=true

FileNames
1 "/some/where/encoder.py"
2 "/some/where/dropout.py"

FunctionNames
1 "main"
2 "Layer._attend"
3 "dropout"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=7 end_line=7 column=6 end_column=67}}
2 {{file_name_id=1 function_name_id=2 line=9 end_line=9 column=6 end_column=67}}
3 {{file_name_id=2 function_name_id=3 line=3 end_line=3 column=6 end_column=67}}

StackFrames
1 {{file_location_id=1 parent_frame_id=1}}
2 {{file_location_id=2 parent_frame_id=2}}
3 {{file_location_id=3 parent_frame_id=3}}

%bits (p.0: u32[]) -> pred[8] {{
  %p.0 = u32[] parameter(0)
  %x.1 = u32[8]{{0}} xor(%p.0, %p.0), metadata={{op_name="{LAYER}xor"}}
  ROOT %s.1 = u32[8]{{0}} shift-left(%x.1, %x.1)
}}

%sliced (p.1: f32[2,8], p.2: s32[]) -> bf16[8] {{
  %p.1 = f32[2,8]{{1,0}} parameter(0)
  %d.1 = f32[1,8]{{1,0}} dynamic-slice(%p.1, %p.2), dynamic_slice_sizes={{1,8}}
  ROOT %c.1 = bf16[8]{{0}} convert(%d.1), metadata={{op_name="{LAYER}convert"}}
}}

%norm (p.3: f32[8]) -> f32[8] {{
  ROOT %m.1 = f32[8]{{0}} multiply(%p.3, %p.3), metadata={{op_name="{LAYER}mul"}}
}}

%softmax (p.4: f32[8]) -> f32[8] {{
  ROOT %e.1 = f32[8]{{0}} exponential(%p.4), metadata={{op_name="{LAYER}exp" stack_frame_id=2}}
}}

%applied (p.5: f32[8]) -> f32[8] {{
  ROOT %m.2 = f32[8]{{0}} multiply(%p.5, %p.5), metadata={{op_name="{LAYER}mul" stack_frame_id=3}}
}}

%adam (p.6: f32[8]) -> (f32[8], f32[8]) {{
  %q.1 = f32[8]{{0}} sqrt(%p.6), metadata={{op_name="{BODY}sqrt"}}
  ROOT %t.1 = (f32[8]{{0}}, f32[8]{{0}}) tuple(%q.1, %q.1)
}}

ENTRY %main.1 (a: f32[8]) -> f32[8] {{
  %loop_fusion.1 = pred[8]{{0}} fusion(%a), kind=kLoop, calls=%bits
  %loop_fusion.2 = bf16[8]{{0}} fusion(%a, %b), kind=kLoop, calls=%sliced
  %loop_fusion.3 = f32[8]{{0}} fusion(%a), kind=kLoop, calls=%norm
  %loop_fusion.4 = f32[8]{{0}} fusion(%a), kind=kLoop, calls=%softmax
  %loop_fusion.5 = f32[8]{{0}} fusion(%a), kind=kLoop, calls=%applied
  %loop_fusion.6 = (f32[8]{{0:T(8)}}, f32[8]{{0}}) fusion(%a), kind=kLoop, calls=%adam
  %custom-call.7 = (bf16[8]{{0}}, s8[64]{{0}}) custom-call(%a), custom_call_target="__cublas$gemm", metadata={{op_name="{LAYER}dot_general"}}
  %custom-call.8 = bf16[8]{{0}} custom-call(%a), custom_call_target="__cublas$gemm", metadata={{op_name="{LAYER}bhqd,bhkd->bhqk/dot_general"}}
  %custom-call.9 = bf16[8]{{0}} custom-call(%a), custom_call_target="__cudnn$fmhaSoftmax"
  %dot.10 = f32[8]{{0}} dot(%a, %a), lhs_batch_dims={{0}}, metadata={{op_name="{BODY}jvp()/dot_general"}}
  %copy.11 = f32[8]{{0}} copy(%a)
  %convert.12 = bf16[8]{{0}} convert(%a), metadata={{op_name="{BODY}convert"}}
  %scatter.13 = f32[8]{{0}} scatter(%a, %a), metadata={{op_name="{BODY}transpose(jvp())/scatter-add"}}
}}
"""

CAUSES = {
    "loop_fusion.1": trace_causes.BITS,
    "loop_fusion.2": trace_causes.SLICES,
    "loop_fusion.3": trace_causes.LAYERS,
    "loop_fusion.4": trace_causes.ATTENTION,
    # In the attention, too, but of dropout's own function.
    "loop_fusion.5": trace_causes.LAYERS,
    "loop_fusion.6": trace_causes.OPTIMIZER,
    "custom-call.7": trace_causes.PRODUCTS,
    "custom-call.8": trace_causes.ATTENTION,
    "custom-call.9": trace_causes.ATTENTION,
    "dot.10": trace_causes.PRODUCTS,
    "copy.11": trace_causes.COPIES,
    "convert.12": trace_causes.CASTS,
    "scatter.13": trace_causes.EMBEDDINGS,
}


@pytest.fixture(scope="module")
def program():
    return trace_causes.read_program(PROGRAM)


@pytest.mark.parametrize("name", CAUSES)
def test_cause_by_program(program, name):
    assert trace_causes.cause(program[name], name) == CAUSES[name]


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("nvjet_hsh_256x128_64x4_1x2_h_bz_coopA_NNT", trace_causes.PRODUCTS),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", trace_causes.PRODUCTS),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_bprop", trace_causes.ATTENTION),
        ("MemcpyD2D", trace_causes.COPIES),
        ("something_else", trace_causes.OTHER),
    ],
)
def test_cause_by_the_name_of_a_kernel(kernel, expected):
    assert trace_causes.cause(None, kernel) == expected


def test_functions_are_those_of_all_frames(program):
    assert program["loop_fusion.5"].functions == {
        *("main", "Layer._attend", "dropout"),
        *("encoder.py", "dropout.py"),
    }


def test_a_call_of_a_library_has_its_target(program):
    assert program["custom-call.7"].opcodes == {"custom-call:__cublas$gemm"}
    assert program["loop_fusion.6"].opcodes == {"fusion", "sqrt", "tuple"}


def meta(kind, name, pid, tid=0):
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def ran(name, pid, tid, start, duration, **about):
    times = {"ts": start, "dur": duration}
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, **times, "args": about}


GPU = [
    meta("process_name", "/device:GPU:0", 1),
    meta("process_name", "/host:CPU", 2),
    meta("thread_name", "Stream #13(Compute)", 1, 13),
    meta("thread_name", "Stream #14(Memcpy)", 1, 14),
    meta("thread_name", "XLA Modules", 1, 99),
    ran("jit_train", 1, 99, 0, 100),
    ran("loop_fusion_3", 1, 13, 0, 10, hlo_op="loop_fusion.3"),
    ran("nvjet_tst", 1, 13, 10, 30, hlo_op="custom-call.7"),
    # Inside a CUDA graph a kernel says its own name alone.
    ran("loop_fusion_1", 1, 13, 50, 10),
    ran("MemcpyD2D", 1, 14, 35, 10),
    ran("python", 2, 1, 0, 500, hlo_op="loop_fusion.3"),
]


def test_kernels_of_a_gpu(program):
    events = trace_causes.kernels(GPU)
    assert sum(event.duration for event in events) == 60
    # From 0 to 60, with nothing between 45 and 50.
    assert trace_causes.busy(events) == (55, 60)
    kernels = trace_causes.by_kernel(events, program)
    assert [(each.cause, each.microseconds, each.runs) for each in kernels] == [
        (trace_causes.PRODUCTS, 30, 1),
        (trace_causes.LAYERS, 10, 1),
        (trace_causes.BITS, 10, 1),
        (trace_causes.COPIES, 10, 1),
    ]
    assert kernels[0].source == f"{LAYER}dot_general"


def test_a_loop_takes_only_what_its_operations_do_not():
    trace = [
        meta("process_name", "/device:TPU:0", 1),
        meta("thread_name", "XLA Ops", 1, 1),
        meta("thread_name", "Async XLA Ops", 1, 2),
        ran("while.1", 1, 1, 0, 100),
        ran("fusion.1", 1, 1, 5, 30),
        ran("fusion.2", 1, 1, 35, 40),
        ran("fusion.3", 1, 1, 36, 4),
        ran("copy.1", 1, 2, 0, 500),
        ran("fusion.1", 1, 1, 200, 1),
    ]
    times = {}
    for event, own in trace_causes.own_times(trace_causes.kernels(trace)):
        times[event.name] = times.get(event.name, 0) + own
    assert times == {"while.1": 30, "fusion.1": 31, "fusion.2": 36, "fusion.3": 4}


def test_on_a_cpu_what_names_an_instruction_counts():
    trace = [
        meta("process_name", "/host:CPU", 1),
        ran("dot.1", 1, 5, 0, 3, hlo_op="dot.1", hlo_module="jit_train"),
        ran("ThunkExecutor::Execute", 1, 5, 0, 9),
    ]
    [event] = trace_causes.kernels(trace)
    assert event == Event("dot.1", "dot.1", (1, 5), 0, 3)


def test_the_newest_trace_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"trace\.json\.gz"):
        trace_causes.read_trace(tmp_path)
    folder = tmp_path / "plugins" / "profile" / "2026"
    folder.mkdir(parents=True)
    with gzip.open(folder / "host.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": GPU}, file)
    assert trace_causes.read_trace(tmp_path) == GPU


def test_nothing_ran():
    assert trace_causes.busy([]) == (0, 0)
    assert trace_causes.by_kernel([], {"a": Work(frozenset())}) == []
