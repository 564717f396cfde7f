"""Random numbers: one splitmix64 stream (Steele, Lea & Flood 2014) per seed, patient and number.

A patient's history does not depend on the shard or worker that simulates it.
"""

from __future__ import annotations

import numpy as np

from claimscale.simulator.kernel.compiled import inner

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_MIX = np.uint64(0xBF58476D1CE4E5B9)
SECOND_MIX = np.uint64(0x94D049BB133111EB)


@inner
def mix(value):
    value = (value ^ (value >> np.uint64(30))) * FIRST_MIX
    value = (value ^ (value >> np.uint64(27))) * SECOND_MIX
    return value ^ (value >> np.uint64(31))


@inner
def stream(seed, patient, number):
    """Initial state of a stream. Number 0 is the patient's history, 1 and above are futures."""
    start = mix(np.uint64(seed) + GOLDEN)
    start = mix(start + np.uint64(patient) * GOLDEN)
    return mix(start + np.uint64(number) * GOLDEN)


@inner
def uniform(generator):
    """The next random number of the stream (uint64 [1]), in [0, 1)."""
    generator[0] += GOLDEN
    return (mix(generator[0]) >> np.uint64(11)) * 2.0**-53


@inner
def pick(generator, cumulative, start, stop):
    """Sample a position in [start, stop) by cumulative weights that end in 1."""
    threshold = uniform(generator)
    low, high = start, stop - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] <= threshold:
            low = middle + 1
        else:
            high = middle
    return low
