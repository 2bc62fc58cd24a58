"""What a machine can do with a layer: the realisations of its transform, on the units that may run it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hqsim.cost.machine import Hardware, MatrixUnit
from hqsim.cost.mapping import LayerMapping
from hqsim.cost.matrix import MatrixRun, matrix_run, more_rows
from hqsim.errors import InputError, UnsupportedError
from hqsim.graph.record import LayerRecord

REALISATIONS = ("runtime", "fold", "parity")
POLICIES = ("best", *REALISATIONS, "as_lowered")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A layer in one realisation, its product on one matrix unit (None for a layer without a product).

    ``parity`` is the run of its parity term, on the same unit.
    """

    record: LayerRecord
    run: MatrixRun | None
    parity: MatrixRun | None = None

    @property
    def runs(self) -> tuple[MatrixRun, ...]:
        """All runs on the matrix unit, one after the other."""
        return tuple([run for run in (self.run, self.parity) if run])


def realised(record: LayerRecord, realisation: str | None) -> LayerRecord:
    """Return the layer with its single transform in ``realisation``, one of its own or of its variants."""
    if realisation == record.realisation:
        return record
    variant = record.variants[realisation or ""]
    return record._replace(
        matrix=variant.matrix,
        hadamard=variant.hadamard,
        weights=record.weights and record.weights._replace(bits=variant.matrix.w_storage_bits),
        vector=variant.vector,
        table_bytes=variant.table_bytes,
        table_bytes_all_steps=variant.table_bytes_all_steps,
        realisation=realisation,
        parity=variant.parity,
    )


def candidates(
    record: LayerRecord, hardware: Hardware, *, wanted: LayerMapping, policy: str
) -> list[Candidate]:
    """Return what the machine supports among what is wanted.

    ``wanted`` may name the unit, the dataflow and the realisation. ``policy`` is one of ``POLICIES``;
    a layer that lacks the realisation that it names keeps its own.

    Raises
    ------
    UnsupportedError
        When nothing remains: every reason, a line each.
    InputError
        For a unit, dataflow or realisation that the machine or the layer does not have.
    """
    found: list[Candidate] = []
    reasons: dict[str, None] = {}
    for name in _realisations(record, wanted, policy):
        if name == "parity" and not _gives_parity(record, hardware):
            reasons[_no_parity(record, hardware)] = None
            continue
        variant = realised(record, name)
        if variant.matrix is None:
            found.append(Candidate(record=variant, run=None))
        else:
            for unit in _units(variant, hardware, wanted):
                try:
                    found.append(_candidate(variant, unit, wanted.dataflow))
                except UnsupportedError as error:
                    reasons[str(error)] = None
    if not found:
        raise UnsupportedError("\n".join(reasons))
    return found


def _candidate(record: LayerRecord, unit: MatrixUnit, dataflow: str | None) -> Candidate:
    """Return a layer with a product on ``unit``; a parity term takes the dataflow of the product.

    One with the weights of the product runs apart, or as more rows of it: whichever takes fewer cycles.
    """
    assert record.matrix is not None
    run = matrix_run(unit, record.matrix, layer=record.name, dataflow=dataflow)
    if record.parity is None:
        return Candidate(record=record, run=run)
    term = record.parity.matrix
    parity = matrix_run(unit, term, layer=record.name, dataflow=run.dataflow)
    if not record.parity.block_sums:
        joined = more_rows(run, record.matrix, term.m)
        parity = min(filter(None, (parity, joined)), key=lambda of: of.cycles)
    return Candidate(record=record, run=run, parity=parity)


def _realisations(record: LayerRecord, wanted: LayerMapping, policy: str) -> tuple[str | None, ...]:
    has = (record.realisation, *record.variants)
    if wanted.realisation is not None:
        if wanted.realisation not in has:
            told = ", ".join(str(name) for name in has if name) or "none (no transform)"
            raise InputError(
                f"layer '{record.name}' has no realisation '{wanted.realisation}', which the mapping asks "
                f"for; allowed: {told}."
            )
        return (wanted.realisation,)
    if policy == "best":
        return has
    return (policy,) if policy in has else (record.realisation,)


def _gives_parity(record: LayerRecord, hardware: Hardware) -> bool:
    """Tell whether every inverse transform runs where a parity can be had, as on the vector unit."""
    works = record.hadamard if record.realisation == "parity" else record.variants["parity"].hadamard
    units = [hardware.transform_unit(work.order) for work in works if work.direction == "inverse"]
    return all(unit is None or unit.parity for unit in units)


def _no_parity(record: LayerRecord, hardware: Hardware) -> str:
    return (
        f"layer '{record.name}' cannot run by parity: the transform unit of '{hardware.name}' does not give "
        "a block's parity; choose another realisation, or set 'parity: true' if the unit does."
    )


def _units(record: LayerRecord, hardware: Hardware, wanted: LayerMapping) -> Iterator[MatrixUnit]:
    able = [unit for unit in hardware.matrix if unit.operators is None or record.op in unit.operators]
    if not able:
        raise UnsupportedError(
            f"layer '{record.name}': no matrix unit of '{hardware.name}' runs operator '{record.op}'; "
            "add it to the 'operators' of one."
        )
    if wanted.unit is None:
        yield from able
        return
    named = [unit for unit in able if unit.name == wanted.unit]
    if not named:
        raise InputError(
            f"layer '{record.name}': the mapping asks for matrix unit '{wanted.unit}', which "
            f"'{hardware.name}' does not have for operator '{record.op}'; "
            f"allowed: {', '.join(unit.name for unit in able)}."
        )
    yield from named
