"""The demo's images: drawn portraits, of a different person for each name."""

import base64
import io
from hashlib import sha256

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
SIZE = (480, 640)  # pixels; within rule P16
SKINS: tuple[Colour, ...] = ((241, 194, 125), (224, 172, 105), (198, 134, 66), (141, 85, 36))


def portrait(name: str, turn: float = 0.0) -> Image.Image:
    """Head and shoulders before a wall; `turn` is from -1 (left) to 1 (right), 0 is frontal."""
    random = sha256(name.encode()).digest()
    image = _background((random[0], random[1], 160), (random[2] // 3, random[3] // 3, 60))
    draw = ImageDraw.Draw(image)
    skin = SKINS[random[4] % len(SKINS)]
    coat, hair = (
        (random[5], random[6], random[7]),
        (random[8] // 3, random[9] // 4, random[10] // 5),
    )
    shift = round(30 * turn)
    draw.ellipse((60, 470, 420, 900), fill=coat)
    draw.rectangle((210, 400, 270, 500), fill=skin)
    draw.ellipse((140 - shift, 110, 340 - shift, 360), fill=hair)
    draw.ellipse((155, 150, 325, 430), fill=skin)
    draw.pieslice((148, 130, 332, 350), 180, 360, fill=hair)
    for side in (-1, 1):
        eye = 240 + side * 38 + shift
        draw.ellipse((eye - 14, 270, eye + 14, 290), fill=(250, 250, 250))
        draw.ellipse((eye - 7 + shift // 5, 272, eye + 7 + shift // 5, 288), fill=(40, 30, 30))
    draw.line(
        (240 + shift, 290, 250 + 2 * shift, 335, 234 + shift, 338), fill=(90, 60, 50), width=3
    )
    draw.arc((205 + shift, 330, 275 + shift, 390), 20, 160, fill=(150, 50, 60), width=5)
    return image


def encode(image: Image.Image, form: str) -> bytes:
    """The image as a file; `form` is JPEG or PNG."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def encode_base64(image: Image.Image, form: str) -> str:
    """The image as a request carries it: Base64 of a file, without a `data:` prefix."""
    return base64.b64encode(encode(image, form)).decode()


def _background(top: Colour, bottom: Colour) -> Image.Image:
    """A wall, shaded from the colour at the top to that at the bottom."""
    above, below = Image.new("RGB", SIZE, top), Image.new("RGB", SIZE, bottom)
    return Image.composite(below, above, Image.linear_gradient("L").resize(SIZE))
