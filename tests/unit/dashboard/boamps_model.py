"""What BoAmps 1.1.0 (2025-03-19, <https://github.com/Boavizta/BoAmps>, folder model) asks of a report, in our words.

Names, types, enumerations and required fields of the parts that we write, as JSON Schema; any other field is refused,
so that a misspelt name shows.
"""

from __future__ import annotations

from typing import Any

__all__ = ["BOAMPS_REPORT"]

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_DATE = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_DATA_TYPES = ("tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other")

BOAMPS_REPORT = _object(
    ("task", "measures", "infrastructure"),
    header=_object(
        ("reportDatetime",),
        licensing=_TEXT,
        formatVersion=_TEXT,
        formatVersionSpecificationUri=_TEXT,
        reportId=_TEXT,
        reportDatetime=_DATE,
        reportStatus=_one_of("draft", "final", "corrective", "other"),
        publisher=_object(
            ("confidentialityLevel",),
            projectName=_TEXT,
            confidentialityLevel=_one_of("public", "internal", "confidential", "secret"),
        ),
    ),
    task=_object(
        ("taskStage", "taskFamily", "algorithms", "dataset"),
        taskStage=_TEXT,
        taskFamily=_TEXT,
        algorithms=_list(
            _object((), algorithmName=_TEXT, framework=_TEXT, epochsNumber=_NUMBER, optimizer=_TEXT),
        ),
        dataset=_list(
            _object(("dataUsage", "dataType"), dataUsage=_one_of("input", "output"), dataType=_one_of(*_DATA_TYPES))
        ),
        measuredAccuracy=_SHARE,
        taskDescription=_TEXT,
    ),
    measures=_list(
        _object(
            ("measurementMethod", "powerConsumption"),
            measurementMethod=_TEXT,
            version=_TEXT,
            cpuTrackingMode=_TEXT,
            gpuTrackingMode=_TEXT,
            powerConsumption=_NUMBER,
            measurementDuration=_NUMBER,
            measurementDateTime=_DATE,
        )
    ),
    software=_object(("language",), language=_TEXT, version=_TEXT),
    infrastructure=_object(
        ("infraType", "components"),
        infraType=_one_of("publicCloud", "privateCloud", "onPremise", "other"),
        components=_list(
            _object(
                ("componentType", "nbComponent"),
                componentName=_TEXT,
                componentType=_TEXT,
                nbComponent={"type": "integer"},
                memorySize={"type": "integer"},
            )
        ),
    ),
    environment=_object(("country",), country=_TEXT, location=_TEXT, powerSourceCarbonIntensity=_NUMBER),
    quality=_one_of("high", "medium", "low"),
)
