"""What of our own environment is handed on to the programs that development starts."""

import os

# Where an interpreter finds its own libraries, if it was not built for the place it is in.
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def minimal_environment() -> dict[str, str]:
    """For database servers: nothing that would change what they do (PG…, LC_…, TZ)."""
    libraries = {name: os.environ[name] for name in LIBRARY_PATHS if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **libraries}


def environment_without_settings() -> dict[str, str]:
    """For our own programs: all but the service's settings, which are given to them one by one."""
    return {name: text for name, text in os.environ.items() if not name.startswith("CALLSHEET_")}
