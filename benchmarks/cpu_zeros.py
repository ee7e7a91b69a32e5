"""What runtimes make of zeros in weights on this processor: one product, as many ways as there are, at several shares.

    python -m venv runtimes
    runtimes/bin/pip install torch==2.14.1 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
    OMP_NUM_THREADS=1 runtimes/bin/python benchmarks/cpu_zeros.py

float32 matrices of the demo model's size and of Llama-7B's attention (outputs x inputs), with 1 row as in decoding, 16,
and 512 as in reading a prompt. Zeros fall anywhere, or are 2:4. One thread. All forms take turns; medians of 9 rounds,
and the ratio to torch's dense product with no zeros in the same round. OpenVINO is run as it is and with its option for
sparse int8 weights, which reads compressed weights where the processor has AMX. Results: benchmarks/cpu_zeros.json.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime
import openvino
import torch

SHAPES = ((1536, 576), (4096, 4096))
ROWS = (1, 16, 512)
ZEROS = ("0 %", "50 %", "70 %", "90 %", "2:4")
ROUNDS, LEAST = 9, 0.004  # seconds of one timing
RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
Product = Callable[[], np.ndarray]


def matrix(shape: tuple[int, int], zeros: str) -> np.ndarray:
    """Random weights, the smallest of them zero: of each row's, or two of each four."""
    weight = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) / shape[1] ** 0.5
    if zeros == "2:4":
        groups = np.abs(weight).reshape(shape[0], -1, 4)
        keep = groups.argsort(-1).argsort(-1) >= 2
        return weight * keep.reshape(shape)
    share = float(zeros.split()[0]) / 100
    least = np.quantile(np.abs(weight), share, axis=1, keepdims=True) if share else -1
    return np.where(np.abs(weight) > least, weight, np.float32(0))


def dense(weight: np.ndarray, inputs: np.ndarray) -> Product:
    w, x = torch.from_numpy(weight), torch.from_numpy(inputs)
    return lambda: torch.nn.functional.linear(x, w).numpy()


def csr(weight: np.ndarray, inputs: np.ndarray) -> Product:
    w, x = torch.from_numpy(weight).to_sparse_csr(), torch.from_numpy(np.ascontiguousarray(inputs.T))
    return lambda: (w @ x).numpy().T


def onnx_runtime(weight: np.ndarray, inputs: np.ndarray) -> Product:
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", kind, inputs.shape)],
        [helper.make_tensor_value_info("y", kind, (len(inputs), len(weight)))],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T), "w")])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": inputs})[0]


def openvino_dense(weight: np.ndarray, inputs: np.ndarray, **more: str) -> Product:
    ops = openvino.opset13
    x = ops.parameter(inputs.shape, np.float32)
    w = ops.constant(weight)
    return _compiled(ops.matmul(x, w, False, True), x, inputs, more)


def openvino_int8(weight: np.ndarray, inputs: np.ndarray, **more: str) -> Product:
    """Weights of 8 bits with a scale a row, inputs quantised to 8 bits: the form that its option is for."""
    ops = openvino.opset13
    x = ops.parameter(inputs.shape, np.float32)
    scale = np.abs(weight).max(1, keepdims=True) / 127
    w = ops.multiply(ops.convert(ops.constant(np.round(weight / scale).astype(np.int8)), "f32"), ops.constant(scale))
    most = np.float32(np.abs(inputs).max())
    low, high = ops.constant(-most), ops.constant(most * 127 / 128)
    quantised = ops.fake_quantize(x, low, high, low, high, 256)
    return _compiled(ops.matmul(quantised, w, False, True), x, inputs, more)


def openvino_int8_sparse(weight: np.ndarray, inputs: np.ndarray) -> Product:
    return openvino_int8(weight, inputs, **{RATE: "0.5"})


def _compiled(y: openvino.Node, x: openvino.Node, inputs: np.ndarray, more: dict[str, str]) -> Product:
    how = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(openvino.Model([y], [x]), "CPU", how | more).create_infer_request()
    request.set_input_tensor(openvino.Tensor(inputs, shared_memory=True))

    def run() -> np.ndarray:
        request.infer()
        return request.get_output_tensor().data

    return run


FORMS = {"torch, dense": dense, "torch, sparse CSR": csr, "ONNX Runtime": onnx_runtime, "OpenVINO": openvino_dense,
         "OpenVINO, int8": openvino_int8, "OpenVINO, int8, its sparse option": openvino_int8_sparse}  # fmt: skip


def seconds(product: Product, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        product()
    return (time.perf_counter() - began) / repeats


def measured(shape: tuple[int, int], rows: int) -> Iterator[dict]:
    """Every form at every share of zeros, in turns."""
    inputs = np.random.default_rng(1).standard_normal((rows, shape[1]), dtype=np.float32)
    products: dict[tuple[str, str], Product] = {}
    for zeros in ZEROS:
        weight = matrix(shape, zeros)
        right = inputs @ weight.T
        for form, make in FORMS.items():
            if form == "torch, sparse CSR" and zeros == "0 %":
                continue
            try:
                product = make(weight, inputs)
                off = float(np.abs(product() - right).max() / np.abs(right).max())
            except Exception as e:  # what a runtime does not take
                yield {"shape": shape, "rows": rows, "zeros": zeros, "form": form, "why": str(e).strip()[:300]}
                continue
            if off > (0.05 if "int8" in form else 1e-4):
                raise SystemExit(f"{form} at {zeros}: off by {off:.2g} of the largest output")
            products[form, zeros] = product
    repeats = {key: max(1, round(LEAST / min(seconds(p, 1) for _ in range(2)))) for key, p in products.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in products}
    for n in range(ROUNDS):
        for key in products if n % 2 else reversed(products):
            times[key].append(seconds(products[key], repeats[key]))
    reference = times["torch, dense", "0 %"]
    for (form, zeros), taken in times.items():
        ratios = sorted(before / after for before, after in zip(reference, taken, strict=True))
        yield {"shape": shape, "rows": rows, "zeros": zeros, "form": form, "seconds": median(taken),
               "times_as_fast": median(ratios), "low": ratios[1], "high": ratios[-2]}  # fmt: skip


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in named["flags"]]
    return f"{named['model name']}, family {named['cpu family']}, model {named['model']} ({', '.join(flags)})"


def main() -> None:
    torch.set_num_threads(1)
    load, rows = [os.getloadavg()[0]], []
    for shape in SHAPES:
        for count in ROWS:
            for row in measured(shape, count):
                rows.append(row)
                print(json.dumps(row), flush=True)
    load.append(os.getloadavg()[0])
    about = {"processor": processor(), "cores": os.cpu_count(), "threads": 1, "load": load, "rounds": ROUNDS,
             "python": platform.python_version(), "torch": torch.__version__, "onnxruntime": onnxruntime.__version__,
             "openvino": openvino.__version__}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(about | {"times": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
