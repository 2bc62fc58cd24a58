"""A state on disk: everything comes back, another run's is refused, a damaged one too."""

import numpy as np
import pytest
import torch

from hqsim.errors import InputError
from hqsim.train.checkpoint import FILE, Checkpoint


def _pair():
    network = torch.nn.Linear(3, 2)
    return network, torch.optim.AdamW(network.parameters(), lr=0.1)


def _step(network, optimizer):
    optimizer.zero_grad()
    network(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()


def test_a_state_comes_back(tmp_path):
    network, optimizer = _pair()
    _step(network, optimizer)
    Checkpoint(tmp_path / "s", {"seed": 1}).save(1, network, optimizer, {"x": np.arange(3.0)})
    other, again = _pair()
    update, extra = Checkpoint(tmp_path / "s", {"seed": 1}).load(other, again)
    assert update == 1
    assert extra["x"].tolist() == [0.0, 1.0, 2.0]
    _step(network, optimizer)
    _step(other, again)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_an_empty_folder_is_a_start(tmp_path):
    assert Checkpoint(tmp_path, {}).load(*_pair()) == (0, {})


def test_another_run_and_a_damaged_file_are_refused(tmp_path):
    network, optimizer = _pair()
    Checkpoint(tmp_path, {"seed": 1}).save(0, network, optimizer, {})
    with pytest.raises(
        InputError, match=r"seed: the state is of a training with 1, this one has 2; name another"
    ):
        Checkpoint(tmp_path, {"seed": 2}).load(network, optimizer)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:50])
    with pytest.raises(InputError, match="not a sound safetensors file"):
        Checkpoint(tmp_path, {"seed": 1}).load(network, optimizer)
