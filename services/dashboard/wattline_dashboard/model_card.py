"""A run as a part of a model card: the metadata that the Hugging Face Hub reads, and a paragraph for people; pure.

The metadata are `co2_eq_emissions` as <https://huggingface.co/docs/hub/model-cards-co2> has them, emissions in grams.
"""

from __future__ import annotations

import json

from wattline_common.store import RunSummary
from wattline_dashboard.facts import emissions_band_kg, energy_band_kwh, method_labels
from wattline_dashboard.filters import is_simulated
from wattline_dashboard.formats import EMISSIONS, ENERGY, duration, literal, percent, plain
from wattline_dashboard.run_sources import constant_price, hardware, place, prices, tags, tracker_version

__all__ = ["model_card", "paragraph"]

_G_PER_KG = 1000.0


def model_card(summary: RunSummary) -> str:
    """Return Markdown with its metadata on top; the tag `training_type` says pre-training or fine-tuning."""
    return f"---\n{_metadata(summary)}---\n\n## Environmental impact\n\n{paragraph(summary)}\n"


def paragraph(summary: RunSummary) -> str:
    """Return what the training has used and emitted, how that was found out, and what is not in it; Markdown."""
    made_up = "**These figures are of a simulated run: no machine drew them.** " if is_simulated(summary) else ""
    parts = [
        f"{made_up}Training {literal(summary['model_name'])} on {literal(summary['dataset_name'])} used "
        f"**{ENERGY.text(summary['energy_kwh'])}** of electricity (band {ENERGY.band(*energy_band_kwh(summary))}) in "
        f"{duration(summary['duration_s'])} and emitted **{EMISSIONS.text(summary['emissions_kg'])}** "
        f"(band {EMISSIONS.band(*emissions_band_kg(summary))}).",
        _hardware_sentence(summary),
        _method_sentence(summary),
        _price_sentence(summary),
        "Cooling and power supply are in these figures by the PUE only; making the hardware, storage and network are "
        "not in them.",
    ]
    return " ".join(part for part in parts if part)


def _metadata(summary: RunSummary) -> str:
    fields = {
        "emissions": f"{summary['emissions_kg'] * _G_PER_KG:.6g}",
        "source": _scalar(f"{_tool(summary)} ({_how(summary)})"),
        "training_type": _optional(tags(summary).get("training_type")),
        "geographical_location": _optional(place(summary["region_iso"])),
        "hardware_used": _optional(_hardware_words(summary)),
    }
    lines = "".join(f"  {name}: {value}\n" for name, value in fields.items() if value)
    return f"co2_eq_emissions:\n{lines}"


def _hardware_sentence(summary: RunSummary) -> str:
    words = _hardware_words(summary)
    return f"It ran on {literal(words)}." if words else ""


def _hardware_words(summary: RunSummary) -> str:
    return "; ".join(device.words for device in hardware(summary))


def _method_sentence(summary: RunSummary) -> str:
    energy_kwh = summary["energy_kwh"]
    measured = f", {percent(summary['measured_energy_kwh'] / energy_kwh)} of it measured" if energy_kwh else ""
    return (
        f"The energy is {_how(summary)}{measured if 'measured' in method_labels(summary) else ''} ({_tool(summary)})."
    )


def _price_sentence(summary: RunSummary) -> str:
    price = constant_price(summary)
    if price:
        return (
            f"Emissions are location-based: PUE {plain(price.pue)}, {plain(price.g_per_kwh)} g CO₂e/kWh "
            f"({literal(price.source)})."
        )
    sources = "; ".join(sorted({literal(each.source) for each in prices(summary)}))
    return (
        f"Emissions are location-based, each interval at the intensity of its moment ({sources or 'unknown source'})."
    )


def _tool(summary: RunSummary) -> str:
    version = tracker_version(summary)
    return f"Wattline {version}" if version else "Wattline"


def _how(summary: RunSummary) -> str:
    return " and ".join(method_labels(summary)) or "got by an unknown method"


def _optional(text: str | None) -> str:
    return _scalar(text) if text else ""


def _scalar(text: str) -> str:
    """Return a text as a YAML scalar: a JSON string is one, once it has printable characters only."""
    return json.dumps("".join(each if each.isprintable() else " " for each in text), ensure_ascii=False)
