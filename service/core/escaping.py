"""Strangers' bytes made safe to show."""


def escaped(raw: bytes) -> str:
    r"""As text: bytes that are no UTF-8 are replaced, and what does not show (control characters,
    line ends, and those that hide or turn the direction of writing) is spelled out, as \x1b."""
    text = raw.decode(errors="replace")
    return "".join(one if one.isprintable() else _spelled(one) for one in text)


def _spelled(sign: str) -> str:
    return sign.encode("unicode_escape").decode()
