"""A budget in FLOPs from hours on a device."""

from forecast.errors import ForecastError

PEAK_FLOPS = {
    "a100": 312e12,
    "b200": 2250e12,
    "h100": 989e12,
    "h200": 989e12,
    "l4": 121e12,
    "l40s": 362e12,
    "rtx4090": 165e12,
    "t4": 65e12,
    "v100": 125e12,
}
"""Dense 16-bit matrix FLOP/s of one device with 32-bit accumulation, from the vendors' data sheets."""


def budget(gpu_hours: float, device: str, mfu: float) -> float:
    """FLOPs of `gpu_hours` device hours at a utilisation `mfu` (model FLOPs over peak FLOPs, 0 to 1).

    Raises ForecastError for an unknown device or numbers out of range.
    """
    if device.lower() not in PEAK_FLOPS:
        raise ForecastError(f"there is no device {device!r}; choose one of {', '.join(PEAK_FLOPS)}, or give --flops.")
    if not 0 < mfu <= 1:
        raise ForecastError(
            f"mfu is {mfu}; give the share of the peak rate that training reaches, above 0 and up to 1."
        )
    if not 0 < gpu_hours < float("inf"):
        raise ForecastError(f"gpu-hours is {gpu_hours}; give a positive finite number.")
    return gpu_hours * 3600 * PEAK_FLOPS[device.lower()] * mfu
