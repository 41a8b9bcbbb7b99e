"""The whole service in one story, told to its end in under a minute."""

from service.local.demo.command import run

__all__ = ["run"]
