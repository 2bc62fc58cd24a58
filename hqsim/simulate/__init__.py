"""Executors, sampler, verification."""

from hqsim.simulate.executors import EXECUTORS, CodeExecutor, TorchExecutor, make_executor
from hqsim.simulate.sampler import Samples, simulate
from hqsim.simulate.verify import VerifyResult, verify

__all__ = [
    "EXECUTORS",
    "CodeExecutor",
    "Samples",
    "TorchExecutor",
    "VerifyResult",
    "make_executor",
    "simulate",
    "verify",
]
