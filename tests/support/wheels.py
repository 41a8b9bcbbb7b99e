"""Small wheels in a folder, and the lock file that lists them."""

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

TAG = "py3-none-any"


def build_wheel(folder: Path, name: str, version: str, metadata: Sequence[str] = ()) -> Path:
    """Build a wheel with one empty module; `metadata` are more lines, as `Requires-Dist: …`."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{about}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
        ),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {TAG}\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*record, f"{about}/RECORD,,", ""])
    path = folder / f"{name}-{version}-{TAG}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def lock_text(*wheels: Path) -> str:
    """The text of a lock file that lists these wheels."""
    return "".join(_pin(each) for each in wheels)


def _pin(path: Path) -> str:
    name, version, _ = path.name.split("-", 2)
    return (
        f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
    )
