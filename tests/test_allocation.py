"""Allocations: the budget is met to the weight, the ratings are the papers' equations, and every method takes them."""

import copy
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calprune.allocation import ALLOCATIONS, parse_allocation
from calprune.allocation.alpha import Alpha, tail_exponent
from calprune.allocation.budget import AllocationError, DenseBlock, DenseLinear, Share, meet
from calprune.allocation.dlp import DLP
from calprune.allocation.from_file import FromFile
from calprune.allocation.linear import LinearInDepth
from calprune.allocation.owl import OWL
from calprune.allocation.uniform import Uniform
from calprune.base.values import ConfigError, UserError, identity
from calprune.layers.inputs import InputStats
from calprune.layers.saved import Statistics
from calprune.methods.magnitude import Magnitude
from calprune.methods.wanda import Wanda
from calprune.pattern import KeepNofM, Unstructured, parse_pattern
from calprune.pruning.job import Pruning
from tests.families import tiny_model
from tests.test_blocks import calibration
from tests.test_methods import EXACT

ROW, MATRIX, SEVENTY = Unstructured(0.7, "row"), Unstructured(0.7, "matrix"), Unstructured(0.7)
TWO_FOUR = KeepNofM(2, 4)
EACH = [OWL(), OWL(per="linear"), DLP(), Alpha(), Alpha(epsilon=0.1, per="linear"), LinearInDepth(0.02)]


def dense_blocks(seed: int = 0, count: int = 5, shapes=((12, 8), (8, 24), (20, 16))) -> list[DenseBlock]:
    """Blocks whose weights and inputs differ in scale and in how many are far out."""
    numbers = torch.Generator().manual_seed(seed)
    blocks = []
    for b in range(count):
        linears = []
        for i, (rows, width) in enumerate(shapes):
            stats = InputStats(width, "moments")
            stats.observe(torch.randn(30, width, generator=numbers) * torch.rand(width, generator=numbers).exp())
            weight = torch.randn(rows, width, generator=numbers) ** (1 + 2 * (b % 3)) * (0.5 + b)
            linears.append(DenseLinear(f"layers.{b}.lin{i}", weight, stats))
        blocks.append(DenseBlock(f"layers.{b}", linears))
    return blocks


def zeros_of(pattern, shape) -> int:
    """What `keep_mask` zeroes in a matrix of the shape (tests/test_pattern.py holds it to that)."""
    rows, width = shape
    match pattern:
        case KeepNofM(keep, of):
            return rows * width * (of - keep) // of
        case Unstructured(sparsity, "matrix"):
            return round(rows * width * sparsity)
        case Unstructured(sparsity, _):
            return rows * round(width * sparsity)


def weights_of(blocks) -> dict[str, torch.Tensor]:
    return {linear.name: linear.weight for block in blocks for linear in block.linears}


def zeros(patterns, blocks) -> int:
    return sum(zeros_of(patterns[name], w.shape) for name, w in weights_of(blocks).items())


shapes = st.tuples(st.integers(1, 40), st.integers(1, 30).map(lambda n: 8 * n))


def came_to(zeros: int, steps: list[int], most: list[int]) -> bool:
    """Whether so many zeros are some number of steps of each linear, up to its most."""
    reached = 1  # bit k: k zeros can be had
    for step, times in zip(steps, most, strict=True):
        with_this = reached
        for _ in range(times):
            with_this |= (with_this << step) & ((1 << (zeros + 1)) - 1)
        reached = with_this
    return bool(reached >> zeros & 1)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(shapes, st.floats(-0.2, 0.2)), min_size=1, max_size=12),
    st.floats(0.25, 0.75),
    st.sampled_from(["row", "matrix", None, 4, 8]),
)
@example([((1, 8), 0.0), ((9, 8), 0.0)], 0.4375, "row")
@example([((1, 8), 0.0), ((3, 24), -0.125), ((11, 104), -0.125), ((25, 96), 0.125)], 0.5, 8)
def test_the_budget_is_met_to_the_weight_or_to_half_of_the_smallest_step(linears, sparsity, kind):
    total = sum(r * w for (r, w), _ in linears)
    shift = sum(r * w * d for (r, w), d in linears) / total
    if isinstance(kind, int):
        pattern = KeepNofM(max(1, round(kind * (1 - sparsity))), kind)
        steps = [r * w // kind for (r, w), _ in linears]
    else:
        pattern = Unstructured(sparsity, kind)
        steps = [1 if kind == "matrix" else r for (r, _), _ in linears]
    highest = 1 - 1 / kind if isinstance(kind, int) else 1
    wanted = [Share(str(i), s, pattern.sparsity + (d - shift) / 2) for i, (s, d) in enumerate(linears)]
    if any(not 0 <= s.value < highest for s in wanted):
        return
    found = meet(wanted, pattern)
    came = sum(zeros_of(found[s.name], s.shape) for s in wanted)
    budget = round(pattern.sparsity * total)
    if abs(came - budget) > min(steps) / 2:  # only where nothing nearer can be had: no linear is zeroed whole
        most = [(kind if isinstance(kind, int) else r * w if kind == "matrix" else w) - 1 for (r, w), _ in linears]
        off = abs(came - budget)
        assert not any(came_to(zeros, steps, most) for zeros in range(budget - off + 1, budget + off))
    assert all(kind != "matrix" or abs(found[s.name].sparsity - s.value) < 2 / s.weights for s in wanted)


@pytest.mark.parametrize("pattern", [ROW, MATRIX, SEVENTY, KeepNofM(3, 8)], ids=str)
@pytest.mark.parametrize("allocation", EACH, ids=str)
def test_every_allocation_meets_every_budget(allocation, pattern):
    blocks = dense_blocks()
    total = sum(w.numel() for w in weights_of(blocks).values())
    came = zeros(allocation(blocks, pattern), blocks)
    step = {"matrix": 1}.get(getattr(pattern, "within", None), 8)  # of a row of 8, or an eighth of 12 x 8
    assert abs(came - round(pattern.sparsity * total)) <= step / 2


def owl_by_the_paper(blocks, lambda_: float, m: float, sparsity: float) -> list[float]:
    """Eq. 1 and the mapping of section 3, in float64, written out."""
    outliers = []
    for block in blocks:
        a = [linear.weight.double().abs() * (linear.stats.sum_xx.double() / 30).sqrt() for linear in block.linears]
        a = torch.cat([x.flatten() for x in a])
        outliers.append(100.0 * (a > m * a.mean()).double().mean().item())
    low, high = min(outliers), max(outliers)
    scaled = [(d - low) / (high - low) * 2 * lambda_ for d in outliers]
    return [1 - (r - sum(scaled) / len(scaled) + 1 - sparsity) for r in scaled]


@pytest.mark.parametrize("beta", [0.03, 0.0, -0.02])
def test_sparsity_rises_by_the_same_step_from_block_to_block(beta):
    blocks = dense_blocks(shapes=((50, 200), (40, 300)))
    found = LinearInDepth(beta)(iter(blocks), MATRIX)
    for i, block in enumerate(blocks):
        for linear in block.linears:
            assert found[linear.name].sparsity == pytest.approx(0.7 + beta * (i - 2), abs=1e-3)


def dlp_by_the_paper(blocks, alpha: float, sparsity: float) -> list[float]:
    medians = []
    for block in blocks:
        a = [linear.weight.double().abs() * (linear.stats.sum_xx.double() / 30).sqrt() for linear in block.linears]
        ordered = torch.cat([x.flatten() for x in a]).sort().values
        medians.append(ordered[(len(ordered) - 1) // 2].item())
    importance = [1 - d / sum(medians) for d in medians]
    low, high = min(importance), max(importance)
    scaled = [(i - low) / (high - low) * 2 * alpha for i in importance]
    return [1 - (r - sum(scaled) / len(scaled) + 1 - sparsity) for r in scaled]


@pytest.mark.parametrize(
    ("allocation", "expected"),
    [
        (OWL(0.08, 3.0), lambda b: owl_by_the_paper(b, 0.08, 3.0, 0.7)),
        (OWL(0.15, 5.0), lambda b: owl_by_the_paper(b, 0.15, 5.0, 0.7)),
        (DLP(0.15), lambda b: dlp_by_the_paper(b, 0.15, 0.7)),
    ],
    ids=["owl", "owl, wide", "dlp"],
)
def test_the_sparsity_of_each_block_is_that_of_the_papers_equations(allocation, expected):
    blocks = dense_blocks()
    found = allocation(blocks, MATRIX)
    for block, wanted in zip(blocks, expected(blocks), strict=True):
        for linear in block.linears:
            assert found[linear.name].sparsity == pytest.approx(wanted, abs=1.5 / linear.weight.numel())
    assert len({round(found[b.linears[0].name].sparsity, 2) for b in blocks}) > 2, "the blocks differ"


def test_owl_per_linear_is_owl_of_blocks_of_one_linear():
    blocks = dense_blocks()
    single = [DenseBlock(linear.name, [linear]) for block in blocks for linear in block.linears]
    assert OWL(per="linear")(blocks, MATRIX) == OWL()(single, MATRIX)


def test_a_block_with_more_outliers_is_pruned_less_by_owl():
    numbers = torch.Generator().manual_seed(3)
    stats = InputStats(64, "moments")
    stats.observe(torch.ones(4, 64))
    calm = torch.rand(64, 64, generator=numbers) + 0.5
    wild = calm.clone()
    wild[:2] *= 30
    blocks = [DenseBlock(n, [DenseLinear(n, w, stats)]) for n, w in (("calm", calm), ("wild", wild))]
    found = OWL()(blocks, ROW)
    assert found["wild"].sparsity < 0.7 < found["calm"].sparsity
    assert found["calm"].sparsity - found["wild"].sparsity == pytest.approx(0.16, abs=2 / 64)


def hill(values: list[float], least: float) -> float:
    tail = [v for v in values if v >= least]
    return 1 + len(tail) / sum(math.log(v / least) for v in tail)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 4.5])
def test_the_exponent_of_a_spectrum_that_is_a_power_law_is_found(exponent):
    """Eigenvalues at the quantiles of p(λ) ∝ λ^-exponent from 1 on; the estimator is consistent, not unbiased."""
    n = 2000
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    values = (1 - quantiles) ** (-1 / (exponent - 1))
    numbers = torch.Generator().manual_seed(0)
    size = 400
    kept = values[:: n // size]
    q, _ = torch.linalg.qr(torch.randn(size, size, generator=numbers, dtype=torch.float64))
    weight = (q * kept.sqrt()).float()
    assert tail_exponent(weight) == pytest.approx(exponent, rel=0.15)
    assert tail_exponent(weight.T * 7) == pytest.approx(tail_exponent(weight), rel=1e-3), "scale and side do not count"


def test_the_exponent_is_the_hill_estimate_from_the_start_that_fits_best():
    """All starts between the bounds tried by hand, in float64."""
    weight = torch.randn(120, 130, generator=torch.Generator().manual_seed(5))
    values = sorted(torch.linalg.svdvals(weight.double()).square().tolist())
    logs = [math.log10(v) for v in values]
    width = (logs[-1] - logs[0]) / 100
    counts = [0] * 100
    for v in logs:
        counts[min(int((v - logs[0]) / width), 99)] += 1
    peak = 10 ** (logs[0] + counts.index(max(counts)) * width)
    fits = []
    for least in values[:-1]:
        if 0.95 * peak <= least <= 1.5 * peak:
            alpha, tail = hill(values, least), [v for v in values if v >= least]
            gaps = [abs(1 - (v / least) ** (1 - alpha) - i / len(tail)) for i, v in enumerate(tail)]
            fits.append((max(gaps), alpha))
    assert len(fits) > 3
    assert tail_exponent(weight) == pytest.approx(min(fits)[1], rel=1e-4)


def test_a_tail_does_not_begin_below_the_peak_even_where_the_law_fits_better_there():
    """Many eigenvalues near 6 are the peak. The law fits best from the least on, 1, which is below 0.95 of the peak."""
    lower = [100 / (100 - i - 0.5) for i in range(83)]  # quantiles of p(λ) ∝ λ^-2, up to 6
    values = [*lower, *(6 + 0.01 * i for i in range(12)), 60.0, 61.0, 62.0]
    weight = torch.diag(torch.tensor(values, dtype=torch.float64).sqrt()).float()
    width = math.log10(62 / values[0]) / 100
    bins = [min(int(math.log10(v / values[0]) / width), 99) for v in values]
    peak = values[0] * 10 ** (width * max(set(bins), key=bins.count))
    assert 5.8 < peak < 6

    def distance(least: float) -> float:
        alpha, tail = hill(values, least), [v for v in values if v >= least]
        return max(abs(1 - (v / least) ** (1 - alpha) - i / len(tail)) for i, v in enumerate(tail))

    allowed = [v for v in values[:-1] if 0.95 * peak <= v <= 1.5 * peak]
    best, best_allowed = min(values[:-1], key=distance), min(allowed, key=distance)
    assert best < 0.2 * peak and hill(values, best) > 1.1 * hill(values, best_allowed)
    assert tail_exponent(weight) == pytest.approx(hill(values, best_allowed), rel=1e-4)


def test_alpha_scales_the_places_between_the_least_and_the_most_to_the_budget():
    blocks = dense_blocks(shapes=((12, 8), (8, 24)))
    means = [sum(tail_exponent(linear.weight) for linear in b.linears) / 2 for b in blocks]
    low, high = min(means), max(means)
    relative = [0.7 + 0.6 * (a - low) / (high - low) for a in means]  # s1 = 0.7, s2 = 1.3
    scale = 0.6 * len(blocks) / sum(relative)
    found = Alpha(epsilon=0.3)(blocks, Unstructured(0.6, "matrix"))
    for block, r in zip(blocks, relative, strict=True):
        assert found[block.linears[0].name].sparsity == pytest.approx(scale * r, abs=1.5 / 96)


def test_a_mixed_pattern_keeps_its_m_and_leaves_dense_what_keeps_all():
    shape = (8, 24)
    found = meet([Share("a", shape, 0.0), Share("b", shape, 0.5), Share("c", shape, 0.75)], KeepNofM(7, 12))
    assert found == {"a": Unstructured(0.0), "b": KeepNofM(6, 12), "c": KeepNofM(3, 12)}


@pytest.mark.parametrize("method", EXACT)  # wanda_variant's own choice of each row's share is near, not exact
@pytest.mark.parametrize("pattern", [Unstructured(0.6), TWO_FOUR, KeepNofM(3, 8)], ids=str)
def test_every_method_with_exact_counts_takes_them_and_a_model_loses_what_was_asked(method, pattern):
    model = tiny_model("llama")
    reports = (
        Pruning(method, pattern, allocation=OWL(lambda_=0.15, m=2.0, per="linear")).run(model, calibration()).reports
    )
    total = sum(r.shape[0] * r.shape[1] for r in reports)
    came = sum(int((model.get_submodule(r.name).weight == 0).sum()) for r in reports)
    assert came == sum(r.zeros for r in reports)
    # half a row step of 16 rows, or an eighth of the smallest matrix; sparsegpt rounds each matrix once more
    assert abs(came - pattern.sparsity * total) <= (8 if isinstance(pattern, Unstructured) else 64) + len(reports)
    assert len({r.pattern for r in reports}) > 1
    assert all(abs(r.zeros - zeros_of(parse_pattern(r.pattern), r.shape)) <= 1 for r in reports)


def test_saved_sums_serve_an_allocation_as_a_dense_pass_does():
    model, data = tiny_model("llama"), calibration()
    job = Pruning(Wanda(), SEVENTY, allocation=OWL(m=2.0))
    from_saved = job.allocate(model, Statistics.collect(model, data, "moments"))
    assert from_saved == job.allocate(model, data, batch_size=2)
    assert len(set(from_saved.values())) > 1


def test_what_is_ignored_counts_neither_in_the_ratings_nor_in_the_budget():
    model = tiny_model("llama")
    reports = Pruning(Wanda(), ROW, allocation=OWL(m=2.0), ignore=("down_proj",)).run(model, calibration()).reports
    assert not any("down_proj" in r.name for r in reports)
    total = sum(r.shape[0] * r.shape[1] for r in reports)
    assert abs(sum(r.zeros for r in reports) - 0.7 * total) <= 8


def test_uniform_is_what_a_job_without_an_allocation_does():
    models = [tiny_model("llama"), tiny_model("llama")]
    Pruning(Wanda(), TWO_FOUR).run(models[0], calibration())
    Pruning(Wanda(), TWO_FOUR, allocation=Uniform()).run(models[1], calibration())
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


def test_an_allocation_that_reads_data_asks_for_it_even_where_the_method_does_not():
    with pytest.raises(UserError, match=r"OWL.*needs calibration data"):
        Pruning(Magnitude(), SEVENTY, allocation=OWL()).run(tiny_model("llama"), None)
    model = tiny_model("llama")
    Pruning(Magnitude(), SEVENTY, allocation=Alpha()).run(model, None)  # reads the weights alone


@pytest.mark.parametrize(
    ("allocation", "pattern", "said"),
    [
        (OWL(lambda_=0.3), Unstructured(0.9), r"layers\.\d\.lin\d would get a sparsity of 1\d\d\.\d%.*below 100%"),
        (DLP(alpha=0.5), Unstructured(0.2), r"layers\.\d\.lin\d would get a sparsity of -\d"),
        (DLP(alpha=0.3), TWO_FOUR, r"layers\.\d\.lin\d would get a sparsity of \d+\.\d%.*0% to 75\.0%"),
    ],
    ids=str,
)
def test_a_budget_that_cannot_be_met_says_where_and_what_the_bound_is(allocation, pattern, said):
    with pytest.raises(AllocationError, match=said) as error:
        allocation(dense_blocks(), pattern)
    assert "\n" not in str(error.value)


def test_alpha_refuses_a_matrix_without_a_tail():
    flat = DenseBlock("b", [DenseLinear("b.flat", torch.zeros(4, 4), None)])
    with pytest.raises(AllocationError, match=r"the eigenvalues of b\.flat have no tail"):
        Alpha()([flat], ROW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("owl(lambda_=0.7)", "lambda_"),
        ("owl(m=0)", "m is how many times"),
        ("dlp(alpha=-0.1)", "alpha"),
        ("alpha(epsilon=1.0)", "epsilon"),
        ("owls", "did you mean 'owl'"),
        ("owl(lamda=0.1)", "did you mean 'lambda_'"),
        ("from_file(path='absent.yaml')", "cannot read the table absent.yaml"),
    ],
)
def test_options_outside_their_range_are_one_line(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        parse_allocation(text)
    assert "\n" not in str(error.value)


def table(tmp_path, text: str) -> FromFile:
    (tmp_path / "table.yaml").write_text(text)
    return FromFile(str(tmp_path / "table.yaml"))


def test_a_table_of_ones_own_is_followed_and_the_longer_name_wins(tmp_path):
    blocks = dense_blocks(count=2, shapes=((10, 10), (10, 10)))
    own = table(tmp_path, "layers.0: 0.6\nlayers.1: 0.8\nlayers.1.lin1: 0.4\nlayers.0.lin1: 0.2\n")
    found = own(blocks, Unstructured(0.5, "row"))
    assert {n: p.sparsity for n, p in found.items()} == pytest.approx(
        {"layers.0.lin0": 0.6, "layers.0.lin1": 0.2, "layers.1.lin0": 0.8, "layers.1.lin1": 0.4}
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers.0: 0.6\nlayers.1: 0.6\n", r"gives 60\.00% over the 400 weights.*wanted 50\.00%"),
        ("layers.0: 0.5\n", r"says nothing of layers\.1\.lin0"),
        ("layers: 0.5\nlayerz.1: 0.5\n", r"names 'layerz\.1'.*did you mean"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, said):
    blocks = dense_blocks(count=2, shapes=((10, 10), (10, 10)))
    with pytest.raises(AllocationError, match=said):
        table(tmp_path, text)(blocks, Unstructured(0.5))


@pytest.mark.parametrize("text", ["layers.0: 1.5\n", "layers.0: yes\n", "- 1\n", "a: [\n", ""])
def test_a_table_that_is_no_table_is_refused_when_it_is_named(tmp_path, text):
    written = ALLOCATIONS.write(table(tmp_path, text))
    with pytest.raises(ConfigError) as error:
        parse_allocation(written)
    assert "\n" not in str(error.value)


def test_a_table_is_read_when_it_is_used_and_not_when_it_is_made():
    absent = FromFile("absent.yaml")
    for use in (identity, FromFile.by_contents, lambda allocation: allocation([], SEVENTY)):
        with pytest.raises(ConfigError, match=r"cannot read the table absent\.yaml: No such file"):
            use(absent)


def test_the_contents_of_a_table_are_its_identity(tmp_path):
    named = table(tmp_path, "layers: 0.5\n")
    first = parse_allocation(ALLOCATIONS.write(named))
    written, name = ALLOCATIONS.write(first), identity(first)
    assert parse_allocation(written) == first and name == identity(named)
    assert name == identity({"type": "FromFile", "version": 1, "path": first.path, "digest": first.digest})
    second = table(tmp_path, "layers: 0.6\n")
    assert name != identity(second)
    with pytest.raises(ConfigError, match="has changed"):
        parse_allocation(written)


def test_the_dense_model_is_not_touched_by_rating_it():
    model = tiny_model("llama")
    before = copy.deepcopy(model.state_dict())
    Pruning(Wanda(), SEVENTY, allocation=DLP()).allocate(model, calibration())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
