"""From an accepted signal to confirmed copies: intake, journal, fan-out, sessions, reports, recovery."""
