"""The measured tables of docs/deploy.md, made from the result files of benchmarks/."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from calprune.pages.numbers import counted, number, rough, with_interval
from calprune.uncertainty.estimate import Estimate

RESULTS = Path(__file__).parent.parent / "benchmarks"
BEGIN, END = "<!-- {}: made by docs/generate.py -->\n", "<!-- end of {} -->"
NOISY = 0.1


def current(page: str) -> str:
    """The page with its tables made anew."""
    for name, make in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = page.split(begin)
        page = f"{before}{begin}{make()}\n{end}{rest.split(end)[1]}"
    return page


def read(name: str) -> dict[str, Any] | None:
    """A result file; None: it was not measured yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def speed(name: str = "speed") -> str:
    """Models side by side."""
    found = read(name)
    if found is None:
        return "Not measured yet: `python benchmarks/speed.py --out DIR`."
    machine, works = found["machine"], [work["name"] for work in found["models"][0]["works"]]
    rows = [["model", "on disk, MB", "memory, MB", *works], ["---", "---:", "---:", *["---:"] * len(works)]]
    for model in found["models"]:
        cells = [_times(work, model is found["models"][0]) for work in model["works"]]
        name = model["name"] if model["name"] == "dense" else f"`{model['name']}`"
        rows.append([name, number(model["stored"] / 1e6, 0), number(model["memory"] / 1e6, 0), *cells])
    busy = found["others"] or 0
    noise = f" Other programs took {busy:.0%} of the cores meanwhile." if busy > NOISY else ""
    return _table(rows) + (
        f"\n\n{machine['device']}, {counted(machine['cores'], 'core')}, "
        f"{counted(machine['threads'], 'thread')} a model, {machine['dtype']}, "
        f"{found['rounds']} rounds: tokens a second of the dense model, and how many times as fast the others are, "
        f"{_certainty(found)}.{noise}"
    )


def _certainty(found: dict[str, Any]) -> str:
    ends = [work["times_as_fast"]["low"] for model in found["models"] for work in model["works"]]
    return "with 95 % intervals" if None not in ends else "by medians; rounds are too few for intervals"


def _times(work: dict[str, Any], first: bool) -> str:
    found = work["tokens_per_second" if first else "times_as_fast"]
    if found is None:
        return "not measured"
    return f"{rough(found['value'])} tokens/s" if first else with_interval(Estimate(**found))


def sizes() -> str:
    """Bytes of packed checkpoints."""
    found = read("archive")
    if found is None:
        return "Not measured yet: `python benchmarks/archive.py --out DIR`."
    rows = [["zeros", "of", "dense, MB", "zstd -3", f"zipnn {found['zipnn']}", "`calprune pack`"],
            ["---", "---", "---:", "---:", "---:", "---:"]]  # fmt: skip
    for one in sorted(found["sizes"], key=lambda one: one["of"]):
        of = {"matrices": "its pruned matrices", "model": "the whole model"}[one["of"]]
        shares = [f"{100 * one[name] / one['dense']:.1f} %" for name in ("zstd", "zipnn", "packed")]
        rows.append([one["pattern"], of, number(one["dense"] / 1e6, 0), *shares])
    return _table(rows)


def two_of_four() -> str:
    """2:4 on a GPU."""
    found = read("two_of_four")
    if found is None:
        return "Not measured: `python benchmarks/two_of_four.py` makes the table, on a GPU."
    shapes = list(dict.fromkeys(tuple(one["shape"]) for one in found["times"]))
    cells = {(tuple(one["shape"]), one["rows"]): one for one in found["times"]}
    rows = [["rows", *(f"{a:,} x {b:,}: dense, µs | 2:4, µs | times as fast" for a, b in shapes)],
            ["---:", *["---: | ---: | ---:"] * len(shapes)]]  # fmt: skip
    for count in dict.fromkeys(one["rows"] for one in found["times"]):
        rows.append([f"{count:,}", *(_pair(cells[shape, count]) for shape in shapes)])
    return f"{_table(rows)}\n\n{found['gpu']}, torch {found['torch']}, {found['dtype']}."


def _pair(one: dict[str, Any]) -> str:
    if "why" in one:
        return "not measured | not measured | not measured"
    ratio = one["dense"] / one["sparse"]
    return f"{one['dense'] * 1e6:.1f} | {one['sparse'] * 1e6:.1f} | {ratio:.2f}{'' if ratio > 1 else ' (slower)'}"


def cpu() -> str:
    """Zeros on a CPU: times as fast as torch's dense product, for the large matrix."""
    found = read("cpu_zeros")
    if found is None:
        return "Not measured yet: `python benchmarks/cpu_zeros.py`."
    largest = max(one["shape"] for one in found["times"])
    cells = {(one["form"], one["rows"], one["zeros"]): one for one in found["times"] if one["shape"] == largest}
    forms, counts, zeros = (list(dict.fromkeys(key[i] for key in cells)) for i in range(3))
    rows = [["in", "rows", *zeros], ["---", "---:", *["---:"] * len(zeros)]]
    for form in forms:
        rows += [
            [form, f"{count:,}", *(_ratio(cells.get((form, count, share))) for share in zeros)] for count in counts
        ]
    load = " and ".join(f"{one:.1f}" for one in found["load"])
    return _table(rows) + (
        f"\n\n{largest[0]:,} x {largest[1]:,} on {found['processor']}, one thread, torch {_plain(found['torch'])}, "
        f"ONNX Runtime {found['onnxruntime']}, OpenVINO {_plain(found['openvino'])}; a smaller one is in the file. "
        f"The machine did other work too (load {load} on {found['cores']} cores before and after). Forms took turns; "
        f"brackets hold the middle {found['rounds'] - 2} ratios of {found['rounds']} rounds."
    )


def _plain(version: str) -> str:
    return version.partition("+")[0].partition("-")[0]


def _ratio(one: dict[str, Any] | None) -> str:
    if one is None:
        return "–"
    return "not taken" if "why" in one else f"{one['times_as_fast']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def mlx() -> str:
    """What MLX makes of the folder."""
    found = (read("deploy") or {}).get("mlx")
    if found is None:
        return "MLX: not measured yet."
    apart = found["apart"]
    rows = [["config.json", "dense, apart", "pruned, apart"], ["---", "---:", "---:"]]
    for how, words in (("as it is", "as it is"), ("with rope_theta", "with `rope_theta` beside `rope_parameters`")):
        rows.append([words, *(f"{apart[f'{which}, {how}']:.1g}" for which in ("dense", "pruned"))])
    return _table(rows)


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TABLES: dict[str, Callable[[], str]] = {"speed": speed, "speed of half a billion": partial(speed, "speed_half_billion"),
                                        "sizes": sizes, "two-of-four": two_of_four, "cpu": cpu,
                                        "mlx": mlx}  # fmt: skip
