"""The cost model: cycles, energy and bytes of layer records on an accelerator described in YAML."""

from hqsim.cost.estimate import Estimate, estimate_records
from hqsim.cost.hardware import hardware_json, hardware_path, list_hardware, load_hardware
from hqsim.cost.layer import LayerCost
from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import MappingRules, load_mapping
from hqsim.cost.scalesim import ScalesimReport, scalesim_report
from hqsim.cost.schema import hardware_json_schema
from hqsim.cost.units.systolic import ArrayRun, systolic_run
from hqsim.cost.workload import Workload

__all__ = [
    "ArrayRun",
    "Estimate",
    "Hardware",
    "LayerCost",
    "MappingRules",
    "ScalesimReport",
    "Workload",
    "estimate_records",
    "hardware_json",
    "hardware_json_schema",
    "hardware_path",
    "list_hardware",
    "load_hardware",
    "load_mapping",
    "scalesim_report",
    "systolic_run",
]
