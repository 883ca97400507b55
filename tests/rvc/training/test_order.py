"""Order and seeds: nothing depends on what was asked before."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from rvc.training.dataset import Order, fixed_arithmetic, generator_of, seed_of, split_held_out

KEYS = [f"{number:064x}" for number in range(40)]
LENGTHS_S = [2.0, 8.0, 3.5, 2.1, 6.0]


def test_seeds_differ_by_seed_purpose_and_number_and_stay_the_same() -> None:
    seeds = [seed_of(0, "step", 1), seed_of(1, "step", 1), seed_of(0, "batch", 1), seed_of(0, "step", 2)]
    assert len(set(seeds)) == 4
    assert seed_of(0, "step", 1) == seeds[0]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_generator_gives_the_same_numbers_whatever_was_drawn_elsewhere() -> None:
    before = torch.rand(5, generator=generator_of("cpu", 3, "step", 8))
    torch.rand(100)
    assert torch.equal(torch.rand(5, generator=generator_of("cpu", 3, "step", 8)), before)


@pytest.mark.parametrize("count", [2, 5, 20, 40, 100, 1000])
def test_held_out_slices_are_few_never_trained_on_and_none_is_lost(count: int) -> None:
    keys = [f"{number:064x}" for number in range(count)]
    train, held_out = split_held_out(keys)
    assert sorted(train + held_out) == keys
    assert 1 <= len(held_out) <= max(1, 0.1 * count)
    assert count > 170 or len(held_out) >= int(0.05 * count)


def test_the_same_slices_are_held_out_in_whatever_order_they_come() -> None:
    assert split_held_out(KEYS) == split_held_out(KEYS[::-1])


def test_a_new_slice_hardly_changes_what_is_held_out() -> None:
    before, after = set(split_held_out(KEYS)[1]), set(split_held_out([*KEYS, "f" * 64])[1])
    assert len(before - after) <= 1


def test_a_single_slice_is_trained_on_and_scored() -> None:
    assert split_held_out(["a"]) == (["a"], ["a"])


@pytest.mark.parametrize("keys", [[], ["a", "a"]])
def test_no_slices_or_the_same_twice_cannot_be_split(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="slice"):
        split_held_out(keys)


def test_each_epoch_hears_every_slice_as_often_as_it_is_long() -> None:
    order = Order(LENGTHS_S, seed=0)
    for epoch in range(3):
        heard = Counter(order.items(epoch, 12))  # 1 + 4 + 2 + 2 + 3 started pieces of 2 s
        assert heard == {0: 1, 1: 4, 2: 2, 3: 2, 4: 3}


def test_epochs_differ_and_seeds_differ() -> None:
    order = Order(LENGTHS_S, seed=0)
    assert order.items(0, 12) != order.items(1, 12)
    assert order.items(0, 12) != Order(LENGTHS_S, seed=1).items(0, 12)


def test_the_items_of_a_step_do_not_depend_on_the_steps_asked_before() -> None:
    forwards, backwards = Order(LENGTHS_S, seed=5), Order(LENGTHS_S, seed=5)
    steps = [forwards.items(step, 5) for step in range(20)]
    assert [backwards.items(step, 5) for step in reversed(range(20))] == steps[::-1]


def test_a_batch_may_be_larger_than_the_data_set() -> None:
    assert Order([2.0], seed=0).items(3, 4) == [0, 0, 0, 0]


def test_threads_and_algorithms_are_fixed_inside_and_as_before_outside() -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with fixed_arithmetic(1, torch.device("cpu")):
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (1, True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
