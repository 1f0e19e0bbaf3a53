"""The bytes that torch's CPU allocator gives out during a step, counted one by one."""

import torch
from torch.profiler import ProfilerActivity, profile


def peak_of(step):
    """Run a step, and return the most bytes that it held at once above what stood before.

    What the step releases that stood before it counts as negative.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    held = peak = 0
    events = seen.profiler.kineto_results.events()
    for event in sorted(events, key=lambda one: one.start_ns()):
        if event.name() == "[memory]" and event.device_type() == torch.autograd.DeviceType.CPU:
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def resident(model):
    """Return the bytes of a model's weights; shared weights count once."""
    return sum(one.numel() * one.element_size() for one in model.parameters())
