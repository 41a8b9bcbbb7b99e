"""The error of everything that development and tests start."""


class LocalError(Exception):
    """Something that development needs is missing or fails; the first line says what."""
