"""Which device to run on, and what a page prints about the machine.

Every page runs on CUDA where there is one and on the CPU otherwise; the environment variable ``KB_DEVICE``
("cpu", "cuda", "cuda:1") decides instead where it is set.
"""

import importlib.metadata
import os
import platform

import torch

_REPORTED = ("torch", "numpy", "transformers", "scikit-learn", "lightgbm", "matplotlib")


def device(name: str | None = None) -> torch.device:
    """The device to run on: ``name``, else ``KB_DEVICE``, else CUDA where there is one, else the CPU.

    Raises:
        ValueError: the device is neither the CPU nor CUDA, or it is CUDA and there is none.
    """
    wanted = name or os.environ.get("KB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"device: {wanted!r} is not a device of torch; wanted 'cpu' or 'cuda'") from error
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cpu" and chosen.index):
        raise ValueError(f"device: {wanted!r} is not supported; wanted 'cpu' or 'cuda'")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: {wanted!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices")
    return chosen


def synchronize(where: torch.device | str) -> None:
    """Wait for the work queued on a CUDA device; on a CPU there is nothing to wait for."""
    where = torch.device(where)
    if where.type == "cuda":
        torch.cuda.synchronize(where)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that the book uses, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name as its maker writes it, or the architecture where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def hardware() -> str:
    """One line on the device that pages run on: the GPU's name, or the processor, its cores and threads in use."""
    where = device()
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used by torch"


def report() -> None:
    """Print the hardware and the versions: what any number on a page was made with."""
    print(hardware())
    named = [f"{name} {version}" for name, version in versions().items()]
    for start in range(0, len(named), 4):  # short lines, as on a phone
        print(", ".join(named[start : start + 4]))
