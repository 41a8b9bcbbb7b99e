"""The environment variables of the programs that development starts."""

import os

# Where an interpreter finds its libraries if it runs in another folder than it was built for.
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def minimal_environment() -> dict[str, str]:
    """The variables of a database server: none that changes what it does (PG…, LC_…, TZ)."""
    libraries = {name: os.environ[name] for name in LIBRARY_PATHS if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **libraries}


def environment_without_settings() -> dict[str, str]:
    """The variables of our own programs: all but CALLSHEET_…, which they are given one by one."""
    return {name: text for name, text in os.environ.items() if not name.startswith("CALLSHEET_")}
