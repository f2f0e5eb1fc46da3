"""Who trains what, on which machines: the invented teams, model families and sites of the simulated fleet."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["POOLS", "TEAMS", "Cpu", "Family", "Gpu", "Pool", "Team"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU model: power when idle and at full load in W, memory in GB."""

    model_name: str
    idle_w: float
    max_w: float
    memory_gb: int


@dataclass(frozen=True, slots=True)
class Cpu:
    """A host's processors together."""

    model_name: str
    idle_w: float
    max_w: float
    vcpus: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Machines of one kind at one site; ``size`` of them, named ``name-01`` and so on."""

    name: str
    region_iso: str
    environment: str
    pue: float
    size: int
    cpu: Cpu
    memory_gb: int
    gpu: Gpu | None = None
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of model, and how one of its trainings looks from outside."""

    model_names: tuple[str, ...]
    framework: str
    datasets: tuple[str, ...]
    gpus: tuple[int, int]
    """Fewest and most GPUs of one host that a run uses."""
    epochs: tuple[int, int]
    steps_per_s: float
    batch_size: int
    loss: tuple[float, float]
    """At the start, and where it levels off."""
    accuracy: tuple[float, float] | None
    """By chance, and at best; None where there is no such figure, as in regression."""


@dataclass(frozen=True, slots=True)
class Team:
    """A project, its people, what they train and where."""

    project: str
    users: tuple[str, ...]
    families: tuple[Family, ...]
    pools: tuple[str, ...]


_EPYC = Cpu("AMD EPYC 7763", 110.0, 280.0, 64)
_XEON = Cpu("Intel Xeon Gold 6338", 120.0, 275.0, 64)
_SMALL = Cpu("Intel Xeon E-2388G", 95.0, 190.0, 16)
_V100 = Gpu("NVIDIA V100-SXM2-32GB", 52.0, 300.0, 32)
_A100 = Gpu("NVIDIA A100-SXM4-80GB", 58.0, 400.0, 80)
_H100 = Gpu("NVIDIA H100-SXM5-80GB", 72.0, 700.0, 80)
_L40S = Gpu("NVIDIA L40S", 54.0, 350.0, 48)
_RTX = Gpu("NVIDIA RTX 6000 Ada", 51.0, 300.0, 48)

POOLS = {
    pool.name: pool
    for pool in (
        Pool("par-cpu", "FRA", "cluster", 1.24, 12, _EPYC, 128),
        Pool("par-a100", "FRA", "cluster", 1.24, 8, _EPYC, 256, _A100, 8),
        Pool("fra-v100", "DEU", "cluster", 1.36, 6, _XEON, 192, _V100, 4),
        Pool("sto-h100", "SWE", "cloud", 1.09, 6, _XEON, 160, _H100, 8),
        Pool("ash-l40s", "US-VA", "cloud", 1.18, 10, _EPYC, 192, _L40S, 4),
        Pool("ore-cpu", "US-OR", "cloud", 1.15, 16, _XEON, 128),
        Pool("dub-a100", "IRL", "cloud", 1.17, 6, _EPYC, 192, _A100, 4),
        Pool("waw-edge", "POL", "edge", 1.58, 6, _SMALL, 32),
        Pool("blr-rtx", "IND", "workstation", 1.45, 8, _SMALL, 64, _RTX, 1),
        Pool("zrh-desk", "CHE", "workstation", 1.05, 10, _SMALL, 64, _RTX, 2),
    )
}

_BOOSTED = Family(
    model_names=("gbdt-credit", "gbdt-churn"),
    framework="lightgbm",
    datasets=("home-credit", "telco-churn", "higgs-11m"),
    gpus=(0, 0),
    epochs=(20, 120),
    steps_per_s=3.0,
    batch_size=4096,
    loss=(0.69, 0.31),
    accuracy=(0.5, 0.89),
)
_FORECAST = Family(
    model_names=("mlp-demand",),
    framework="sklearn",
    datasets=("electricity-load", "m5-sales"),
    gpus=(0, 0),
    epochs=(15, 80),
    steps_per_s=12.0,
    batch_size=512,
    loss=(1.4, 0.22),
    accuracy=None,
)
_IMAGES = Family(
    model_names=("resnet50", "convnext-tiny"),
    framework="torch",
    datasets=("imagenet-1k", "food-101", "cifar100"),
    gpus=(1, 4),
    epochs=(20, 90),
    steps_per_s=4.5,
    batch_size=256,
    loss=(6.9, 1.05),
    accuracy=(0.001, 0.78),
)
_VIT = Family(
    model_names=("vit-b16",),
    framework="jax",
    datasets=("imagenet-1k", "imagenet-21k"),
    gpus=(4, 8),
    epochs=(30, 120),
    steps_per_s=2.8,
    batch_size=1024,
    loss=(6.9, 0.92),
    accuracy=(0.001, 0.81),
)
_SEGMENTS = Family(
    model_names=("unet3d",),
    framework="torch",
    datasets=("brats-2023", "kits-19"),
    gpus=(1, 2),
    epochs=(40, 150),
    steps_per_s=1.2,
    batch_size=8,
    loss=(1.1, 0.12),
    accuracy=(0.2, 0.91),
)
_ENCODER = Family(
    model_names=("bert-base", "deberta-v3-base"),
    framework="torch",
    datasets=("glue-mnli", "wikitext-103"),
    gpus=(1, 4),
    epochs=(3, 12),
    steps_per_s=3.2,
    batch_size=64,
    loss=(10.4, 1.65),
    accuracy=(0.01, 0.86),
)
_DECODER = Family(
    model_names=("gpt-125m", "gpt-350m"),
    framework="torch",
    datasets=("openwebtext", "the-stack-python"),
    gpus=(4, 8),
    epochs=(3, 6),
    steps_per_s=1.6,
    batch_size=512,
    loss=(10.9, 2.75),
    accuracy=(0.0, 0.46),
)
_SPEECH = Family(
    model_names=("conformer-small",),
    framework="tensorflow",
    datasets=("librispeech-960h", "common-voice-de"),
    gpus=(1, 4),
    epochs=(10, 40),
    steps_per_s=2.1,
    batch_size=48,
    loss=(8.2, 0.85),
    accuracy=(0.0, 0.93),
)

TEAMS = (
    Team("credit-risk", ("amara", "jonas"), (_BOOSTED,), ("par-cpu", "ore-cpu")),
    Team("demand-forecast", ("li-wei", "fatima"), (_FORECAST, _BOOSTED), ("ore-cpu", "waw-edge")),
    Team("vision-quality", ("kofi", "marta", "yuki"), (_IMAGES, _VIT), ("fra-v100", "ash-l40s", "par-a100")),
    Team("medical-imaging", ("elena", "ravi"), (_SEGMENTS, _IMAGES), ("zrh-desk", "blr-rtx", "dub-a100")),
    Team("language-search", ("noor", "sofia"), (_ENCODER,), ("dub-a100", "ash-l40s", "fra-v100")),
    Team("code-assistant", ("tomasz", "ines"), (_DECODER, _ENCODER), ("sto-h100", "par-a100")),
    Team("voice-assistant", ("oluwaseun", "hana"), (_SPEECH,), ("ash-l40s", "zrh-desk", "dub-a100")),
)
