"""Only exact 2:4 matrices that the kernels take are made semi-structured, and only where that is faster."""

import pytest
import torch
from torch import nn

import calprune
from calprune.base.values import UserError
from calprune.deployment.semi_structured import (
    TURNS,
    AccelerateReport,
    PairTimes,
    exact_linears,
    in_turns,
    is_two_of_four,
    semi_structured,
)
from calprune.methods import parse_method
from calprune.pattern import parse_pattern

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def pruned(rows: int, columns: int, pattern: str = "2:4") -> torch.Tensor:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return parse_method("magnitude")(weight, None, parse_pattern(pattern)).to(torch.bfloat16)


def linear(weight: torch.Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    made.weight.data.copy_(weight)
    return made


def test_two_of_four_is_of_each_four_and_not_on_average():
    assert is_two_of_four(pruned(32, 64)) and not is_two_of_four(pruned(32, 64, "50%/row"))
    assert is_two_of_four(torch.zeros(4, 8)), "fewer than two are 2:4 as well"
    across = torch.tensor([[1.0, 1, 0, 0, 0, 1, 1, 1]])
    assert not is_two_of_four(across) and not is_two_of_four(torch.zeros(4, 6)) and not is_two_of_four(torch.zeros(8))


def test_only_what_the_kernels_take_and_nothing_else_shares_is_found():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = linear(pruned(32, 64)), linear(pruned(32, 64))
            self.dense = linear(torch.randn(32, 64).bfloat16())
            self.wide, self.small = linear(pruned(32, 64).float()), linear(pruned(8, 64))
            self.tied, self.embedding = linear(pruned(32, 128)), nn.Embedding(32, 128)
            self.tied.weight = self.embedding.weight = nn.Parameter(pruned(32, 128))

    net = Net()
    assert exact_linears(net) == {(32, 64): [net.first, net.second]}


def test_without_a_gpu_it_is_one_line_and_nothing_is_changed():
    net = linear(pruned(32, 64))
    if torch.cuda.is_available():
        with pytest.raises(UserError, match="the model is on the CPU"):
            calprune.accelerate(net)
    else:
        with pytest.raises(UserError, match=r"needs an NVIDIA GPU .* torch sees none"):
            calprune.accelerate(net)
    assert type(net.weight.data) is torch.Tensor


def test_times_are_medians_of_turns_without_the_first_two():
    order, clock = [], iter(map(float, range(1000)))
    found = in_turns([lambda: order.append("a"), lambda: order.append("b")], lambda work: (work(), next(clock))[1])
    assert order == ["a", "b"] * (TURNS + 2)
    assert found == [4 + TURNS - 1, 5 + TURNS - 1], "of 4, 6, 8, ... and of 5, 7, 9, ..."


def test_the_report_says_what_stays_dense():
    times = {(4096, 4096): PairTimes(2e-4, 1e-4), (64, 64): PairTimes(1e-5, 3e-5)}
    report = AccelerateReport("a GPU", 2048, times, {(4096, 4096): 7, (64, 64): 2})
    assert report.changed == 7 and "7 linears of 9 changed" in report.text() and "no: slower" in report.text()


@on_gpu
def test_on_a_gpu_the_semi_structured_product_is_the_dense_one_to_rounding():
    weight, inputs = pruned(256, 512).cuda(), torch.randn(128, 512).bfloat16().cuda()
    dense = nn.functional.linear(inputs, weight).float()
    made = nn.functional.linear(inputs, semi_structured(weight)).float()
    assert ((made - dense).abs().max() / dense.abs().max()).item() < 2**-7


@on_gpu
def test_on_a_gpu_a_model_gives_the_same_and_dense_ones_are_refused():
    net = nn.Sequential(linear(pruned(256, 512)), linear(pruned(64, 256))).cuda()
    inputs = torch.randn(128, 512).bfloat16().cuda()
    before = net(inputs).float()
    report = calprune.accelerate(net, rows=128)
    assert set(report.times) == {(256, 512), (64, 256)} and 0 <= report.changed <= 2
    assert ((net(inputs).float() - before).abs().max() / before.abs().max()).item() < 2**-6
    with pytest.raises(UserError, match="no linear is exactly 2:4"):
        calprune.accelerate(linear(torch.randn(256, 512).bfloat16()).cuda())
