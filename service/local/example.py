"""The example request of `callsheet dev`: an image subject with drawn images."""

import base64
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 400  # pixels; rule P16 asks for 300 at least


def write_example(path: Path) -> Path:
    """Write a body of `POST /v1/subjects` with two PNGs to the file."""
    body = {
        "element_name": "A red ball",
        "element_description": "A ball, seen from the front and from above",
        "reference_type": "image_refer",
        "element_image_list": {
            "frontal_image": _base64_of(picture("red")),
            "refer_images": [{"image_url": _base64_of(picture("darkred"))}],
        },
        "tag_list": [{"tag_id": "o_104"}],
    }
    path.write_text(json.dumps(body))
    return path


def picture(colour: str) -> bytes:
    """A ball of this colour, as PNG."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(image).ellipse((40, 40, SIDE - 40, SIDE - 40), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _base64_of(file: bytes) -> str:
    """The file as a request has it, without a data: prefix (rule P15)."""
    return base64.b64encode(file).decode()
