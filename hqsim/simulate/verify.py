"""``hqsim.verify``: the integer model against the exact executor, and against its fake-quant simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hqsim.errors import InputError
from hqsim.graph import Node
from hqsim.ops import OPERATORS, Multiply
from hqsim.ops.multiply import sum_bits
from hqsim.ops.quantize import transform_of
from hqsim.ops.realisation import is_double, multiplier_bits
from hqsim.quantize import QuantizedModel
from hqsim.simulate.fakequant import FREE_RUNNING, TEACHER_FORCED, FakeQuantResult, compare_fakequant
from hqsim.simulate.lockstep import LockstepResult, compare_exact, observed_bits
from hqsim.simulate.metrics import Difference
from hqsim.simulate.sampler import Progress, SamplingSettings, resolve_settings

if TYPE_CHECKING:
    import pandas as pd

PRODUCT_LIMIT = 1e-12
CONTROL_LIMIT_DB = 6.0
CLOSENESS_LIMIT_DB = 0.5


@dataclass(frozen=True)
class Check:
    """One figure beside its limit.

    ``required`` checks are about each layer and must hold; the others are about whole free runs, which chaos
    rules: they are measured, shown and no verdict on the integers.
    """

    name: str
    value: str
    limit: str
    passed: bool
    required: bool = True

    @property
    def verdict(self) -> str:
        """Return ``ok``, ``FAILED`` (a required check) or ``not reached`` (a measured one)."""
        if self.passed:
            return "ok"
        return "FAILED" if self.required else "not reached"


@dataclass(frozen=True)
class VerifyResult:
    """What verification found. Either part is None when it was not asked for."""

    qmodel: QuantizedModel
    settings: SamplingSettings
    exact: LockstepResult | None
    fakequant: FakeQuantResult | None

    @property
    def mismatches(self) -> int:
        """Codes in which integer and exact executor differ."""
        return self.exact.mismatches if self.exact else 0

    @property
    def passed(self) -> bool:
        """Whether every required check holds."""
        return all(check.passed for check in self.checks() if check.required)

    def checks(self) -> list[Check]:
        """Return every figure with its limit."""
        return [*self._exact_checks(), *self._fakequant_checks()]

    def _exact_checks(self) -> list[Check]:
        if self.exact is None:
            return []
        saturation, overflow = self.exact.saturation_differences, self.exact.overflow_differences
        found = f"{self.exact.mismatches:,} of {self.exact.compared:,}"
        return [
            Check("codes that differ from the exact executor", found, "0", self.exact.mismatches == 0),
            Check("nodes whose saturation counts differ", f"{saturation}", "0", saturation == 0),
            Check("layers whose accumulator events differ", f"{overflow}", "0", overflow == 0),
        ]

    def _fakequant_checks(self) -> list[Check]:
        if self.fakequant is None:
            return []
        operands = self.fakequant.operands(TEACHER_FORCED)
        limit_lsb = operand_limit_lsb(self.qmodel)
        product = max(self.fakequant.product_error.values())
        final = self.fakequant.final_sqnr_db()
        closeness, error = self.fakequant.closeness_db()
        gap = final["control_float32_against_float64"] - final["integer_against_fakequant"]
        return [
            *self._operand_checks(self.fakequant),
            Check(
                "largest difference of operand codes",
                f"{operands.max_lsb} LSB",
                f"{limit_lsb} LSB",
                operands.max_lsb <= limit_lsb,
            ),
            Check(
                "sums times scale against float64 product",
                f"{product:.1e}",
                f"{PRODUCT_LIMIT:.0e}",
                product <= PRODUCT_LIMIT,
            ),
            Check(
                "closeness to the float model beside fake-quant",
                f"{closeness:+.2f} ± {error:.2f} dB",
                f"-{CLOSENESS_LIMIT_DB} dB",
                closeness >= -CLOSENESS_LIMIT_DB,
                required=False,
            ),
            Check(
                "distance to fake-quant beyond the control",
                f"{gap:.2f} dB",
                f"{CONTROL_LIMIT_DB} dB",
                gap <= CONTROL_LIMIT_DB,
                required=False,
            ),
        ]

    def _operand_checks(self, fakequant: FakeQuantResult) -> Iterator[Check]:
        """Yield a check per width: finer operands (8-bit probabilities beside 4 bits) are off more often."""
        names: dict[int, list[str]] = {}
        for node in self.qmodel.graph:
            if node.op == "quantize":
                names.setdefault(self.qmodel.formats[node.name].bits, []).append(node.name)
        for bits, group in sorted(names.items()):
            found = fakequant.operands(TEACHER_FORCED, group).mismatch_percent
            limit = operand_limit_percent(bits, self.qmodel.recipe.carriers.bits)
            yield Check(
                f"{bits}-bit operand codes off, teacher-forced",
                f"{found:.3f} %",
                f"{limit} %",
                found <= limit,
            )

    @property
    def layers(self) -> pd.DataFrame:
        """One row per matrix layer: widths, bounds, ranges, saturation, errors."""
        import pandas as pd

        return pd.DataFrame([self._layer_row(node) for node in matrix_layers(self.qmodel)])

    def _layer_row(self, node: Node) -> dict[str, Any]:
        row = layer_widths(self.qmodel, node)
        operand_names = node.inputs
        if self.exact:
            observed = self.exact.accumulators[node.name]
            row["observed_low"], row["observed_high"] = observed
            row["observed_bits"] = observed_bits(observed)
            names = (node.name, *operand_names)
            row["saturated_carriers"] = self.exact.saturated.get(node.name, 0)
            row["saturated_operands"] = sum(self.exact.saturated.get(name, 0) for name in operand_names)
            row["accumulator_events"] = self.exact.overflowed.get(node.name, 0)
            row["mismatches"] = sum(self.exact.nodes[name].mismatches for name in names)
        if self.fakequant:
            operands = _total(self.fakequant, TEACHER_FORCED, operand_names)
            forced = _total(self.fakequant, TEACHER_FORCED, (node.name,))
            free = _total(self.fakequant, FREE_RUNNING, (node.name,))
            row["sqnr_db"] = forced.sqnr_db
            row["sqnr_free_running_db"] = free.sqnr_db
            row["operand_mismatch_percent"] = operands.mismatch_percent
            row["max_lsb"] = operands.max_lsb
            row["output_max_lsb"] = forced.max_lsb
            row["product_error"] = self.fakequant.product_error[node.name]
        return row

    @property
    def step_layers(self) -> pd.DataFrame:
        """Tidy (layer, step, timestep, mode) with SQNR, operand mismatches and largest LSB."""
        import pandas as pd

        if self.fakequant is None:
            return pd.DataFrame()
        timesteps = self.qmodel.model.schedule.timesteps(self.settings.steps)
        rows = []
        for mode in (TEACHER_FORCED, FREE_RUNNING):
            for node in matrix_layers(self.qmodel):
                for step, timestep in enumerate(timesteps):
                    cells = self.fakequant.differences
                    operands = _sum(cells[mode, name, step] for name in node.inputs)
                    rows.append(
                        {
                            "layer": node.name,
                            "step": step,
                            "timestep": int(timestep),
                            "mode": mode,
                            "sqnr_db": cells[mode, node.name, step].sqnr_db,
                            "mismatch_percent": operands.mismatch_percent,
                            "max_lsb": operands.max_lsb,
                        }
                    )
        return pd.DataFrame(rows)

    def summary(self) -> list[tuple[str, str]]:
        """Return lines for a terminal: what, and the figure beside its limit."""
        rows = [
            (check.name, f"{check.value} (limit {check.limit}) {check.verdict}") for check in self.checks()
        ]
        if self.exact and self.exact.first:
            first = self.exact.first
            where = f"{first.node} ({first.op}), step {first.step}, timestep {first.timestep}"
            codes = f"expected {first.expected}, got {first.got}"
            rows.append(("first divergence", f"{where}, index {first.index}: {codes}"))
        if self.fakequant:
            rows += [
                (name.replace("_", " "), f"{value:.2f} dB")
                for name, value in self.fakequant.final_sqnr_db().items()
            ]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values with stable keys."""
        record: dict[str, Any] = {
            "model": self.qmodel.model.name,
            "recipe": self.qmodel.recipe.name,
            "steps": self.settings.steps,
            "images": len(self.settings.labels),
            "guidance": self.settings.guidance,
            "seed": self.settings.seed,
            "passed": self.passed,
            "checks": [vars(check) for check in self.checks()],
            "mismatches": self.mismatches,
            "layers": self.layers.to_dict("records"),
        }
        if self.exact:
            record |= {
                "codes_compared": self.exact.compared,
                "nodes": len(self.exact.nodes),
                "first_divergence": self.exact.first.to_json() if self.exact.first else None,
                "saturated": {name: count for name, count in self.exact.saturated.items() if count},
                "accumulator_events": {name: count for name, count in self.exact.overflowed.items() if count},
            }
        if self.fakequant:
            operands = self.fakequant.operands(TEACHER_FORCED)
            record |= {
                "operand_mismatch_percent": operands.mismatch_percent,
                "max_lsb": operands.max_lsb,
                "product_error": max(self.fakequant.product_error.values()),
                "sqnr_db": self.fakequant.final_sqnr_db(),
                "closeness_db": self.fakequant.closeness_db()[0],
                "closeness_standard_error_db": self.fakequant.closeness_db()[1],
            }
        return record


def verify(
    qmodel: QuantizedModel,
    *,
    steps: int = 20,
    images: int = 8,
    seed: int = 0,
    guidance: float | None = None,
    against: str = "both",
    progress: Progress | None = None,
) -> VerifyResult:
    """Verify a quantized model.

    Parameters
    ----------
    qmodel
        The quantized model.
    steps, images, seed, guidance
        The run that is compared: DDIM steps, images (labels cycle through the classes), seed of the noise,
        guidance weight (the model's default when None).
    against
        ``exact`` (every code of every node), ``fakequant`` (layer by layer and as a whole) or ``both``.

    Raises
    ------
    InputError
        For an unknown comparison or settings that the model does not have.
    """
    if against not in ("both", "exact", "fakequant"):
        raise InputError(f"against: got '{against}', allowed both, exact, fakequant")
    report = progress or (lambda *_: None)
    settings = resolve_settings(qmodel, labels=None, images=images, steps=steps, guidance=guidance, seed=seed)
    return VerifyResult(
        qmodel=qmodel,
        settings=settings,
        exact=compare_exact(qmodel, settings, report) if against != "fakequant" else None,
        fakequant=compare_fakequant(qmodel, settings, report) if against != "exact" else None,
    )


def operand_limit_percent(activation_bits: int, carrier_bits: int = 16) -> float:
    """Return the largest share of operand codes that may be off, teacher-forced.

    A carrier's rounding moves an operand across a boundary in proportion to the number of operand steps per
    carrier step: 0.1 % at 4 bits beside 16, twice as much per further bit of the operand or bit less of the
    carrier, 1.5 % at 8 bits beside 16.
    """
    doublings = max(0, activation_bits - 4 + 16 - carrier_bits)
    limit = 0.1 * 2.0**doublings
    return min(limit, 1.5 if doublings <= 4 else 100.0)


def operand_limit_lsb(qmodel: QuantizedModel) -> int:
    """Return by how much an operand code may be off: one, and what the carriers' rounding moves it.

    A carrier is off by half a code at most, a sum of ``n`` of them by ``n / 2``, in steps of ``s_c / ŝ``.
    Codes with an exponent are off by multiples of its power of two.
    """
    limit = 1
    for node in qmodel.graph:
        if node.op == "quantize":
            transform, carrier = transform_of(node), qmodel.formats[node.inputs[0]].scale
            n = transform.size if transform else 1
            operand = qmodel.formats[node.name]
            moved = n / 2 * carrier / min(operand.scales)
            for exponent in {0, operand.spread}:
                limit = max(limit, (1 + math.floor(moved / 2**exponent)) << exponent)
    return limit


def matrix_layers(qmodel: QuantizedModel) -> list[Node]:
    """Return the nodes with a matrix product, in execution order."""
    return [node for node in qmodel.graph if isinstance(OPERATORS[node.op], Multiply)]


def layer_widths(qmodel: QuantizedModel, node: Node) -> dict[str, Any]:
    """Return formats, widths, transform and proved bounds of one matrix layer.

    ``accumulator_bound`` is the largest of the layer's segments; ``wide_sum_bits`` holds the sum of all
    segments times their factors.
    """
    operator = OPERATORS[node.op]
    assert isinstance(operator, Multiply)
    operands = [qmodel.formats[name] for name in node.inputs]
    bounds = operator.bounds(node, qmodel.node_arrays(node), operands)
    bound = max(bounds, key=lambda bound: bound.magnitude)
    return {
        "layer": node.name,
        "op": node.op,
        "weight_bits": node.attributes.get("weight_bits", operands[-1].bits),
        "storage_bits": operands[0].bits,
        "multiplier_bits": multiplier_bits(node, operands),
        "transform": _transform_text(node),
        "segments": len(bounds),
        "accumulator_bound": bound.magnitude,
        "accumulator_bits": bound.bits,
        "wide_sum_bits": sum_bits(bounds),
    }


def _transform_text(node: Node) -> str:
    """Such as ``width k=5``, ``channel k=3 signs fold``, ``double channel k=5``."""
    transform = transform_of(node)
    if transform is None:
        return "none"
    words = ["double"] if is_double(node) else []
    words += [transform.axis, f"k={transform.order}"]
    if transform.signs:
        words.append("signs")
    realisation = node.attributes.get("hadamard_realisation", "runtime")
    return " ".join(words if realisation == "runtime" else [*words, str(realisation)])


def accumulator_bits(qmodel: QuantizedModel) -> dict[str, int]:
    """Return the proved accumulator width of every matrix layer."""
    return {node.name: layer_widths(qmodel, node)["accumulator_bits"] for node in matrix_layers(qmodel)}


def _total(result: FakeQuantResult, mode: str, names: tuple[str, ...]) -> Difference:
    return _sum(
        cell for (found, name, _), cell in result.differences.items() if found == mode and name in names
    )


def _sum(cells: Any) -> Difference:
    total = Difference()
    for cell in cells:
        total.signal += cell.signal
        total.error += cell.error
        total.compared += cell.compared
        total.mismatches += cell.mismatches
        total.max_lsb = max(total.max_lsb, cell.max_lsb)
    return total
