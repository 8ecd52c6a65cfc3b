"""How long the rule-based state machines run (T-10): 200 runs of 50 steps, in the nightly form 5,000 of 100."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

#: runs of one machine, and steps of one run; `make nightly-machines` asks for more
RUNS: Final = int(os.environ.get("MACHINE_RUNS", "200"))
STEPS: Final = int(os.environ.get("MACHINE_STEPS", "50"))

MACHINE: Final = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
#: on a real database, where a step costs milliseconds; what the machine does is run in memory at full length
ON_POSTGRES: Final = settings(MACHINE, max_examples=RUNS // 10, stateful_step_count=STEPS * 4 // 5)
