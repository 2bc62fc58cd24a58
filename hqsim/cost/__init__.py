"""The cost model: cycles, energy and bytes of layer records on an accelerator described in YAML."""

from hqsim.cost.estimate import Estimate, estimate_records
from hqsim.cost.hardware import hardware_path, list_hardware, load_hardware
from hqsim.cost.layer import LayerCost
from hqsim.cost.machine import Hardware
from hqsim.cost.scalesim import ScalesimReport, scalesim_report
from hqsim.cost.schema import hardware_json_schema
from hqsim.cost.systolic import ArrayRun, systolic_run

__all__ = [
    "ArrayRun",
    "Estimate",
    "Hardware",
    "LayerCost",
    "ScalesimReport",
    "estimate_records",
    "hardware_json_schema",
    "hardware_path",
    "list_hardware",
    "load_hardware",
    "scalesim_report",
    "systolic_run",
]
