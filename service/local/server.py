"""A database server that development or a test has started."""

from dataclasses import dataclass, field

from service.local.processes import Child


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, and the means to have it fail: it comes back on the same port and data."""

    url: str = field(repr=False)
    child: Child

    def kill(self) -> None:
        """At once, as a fault would: Valkey by SIGKILL, Postgres by SIGQUIT (immediate)."""
        self.child.kill()

    def start(self) -> None:
        """After `kill`; back when it can be used."""
        self.child.start()

    def restart(self) -> None:
        self.child.restart()
