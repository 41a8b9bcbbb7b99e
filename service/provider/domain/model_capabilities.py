"""Which models take which kind of subject, and how many of them: rule P80 as data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.subjects.domain.reference_types import IMAGE, VIDEO


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many in one request. `when` is what the request has beside its subjects; "default"
    is for all that no other limit of the model names."""

    when: str
    subjects: int
    image_subjects: int
    video_subjects: int
    images_and_image_subjects: int | None  # reference images count too; None: they are not limited


@dataclass(frozen=True, slots=True)
class PerRequest:
    """A request is within them if, of the limits for what it has, it keeps one. `most` is what any
    request may have; `note` says all of it for people."""

    most: int
    limits: tuple[Limit, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Model:
    """`aliases` are its other names; the kinds of subject are those of a request's
    `reference_type`."""

    model: str
    aliases: tuple[str, ...]
    image_subject: bool
    video_subject: bool
    subjects_per_request: PerRequest


NO_SUBJECTS = PerRequest(0, (), "takes no subjects")
MODELS = (
    Model(
        model="kling-video-o1",
        aliases=(),
        image_subject=True,
        video_subject=False,
        subjects_per_request=PerRequest(
            most=7,
            limits=(
                Limit("default", 7, 7, 0, 7),
                Limit("reference_video", 4, 4, 0, 4),
                Limit("first_and_last_frame", 0, 0, 0, None),
            ),
            note="with reference images at most 7 in all, beside a reference video at most 4, "
            "none with first and last frame",
        ),
    ),
    Model(
        model="kling-v3-omni",
        aliases=("kling-video-o3",),
        image_subject=True,
        video_subject=True,
        subjects_per_request=PerRequest(
            most=7,
            limits=(
                Limit("default", 7, 7, 0, 7),
                Limit("default", 7, 4, 3, 4),
                Limit("reference_video", 4, 4, 0, 4),
                Limit("reference_video", 1, 0, 1, 0),
            ),
            note="without a reference video: images and image subjects at most 7, video subjects "
            "at most 3, and then at most 4 of the others; with one: at most 4, or 1 video subject, "
            "not mixed",
        ),
    ),
    Model(
        model="kling-v3",
        aliases=(),
        image_subject=True,
        video_subject=True,
        subjects_per_request=PerRequest(
            most=3,
            limits=(Limit("default", 3, 3, 3, None), Limit("motion_control", 1, 1, 1, None)),
            note="at most 3, with motion control at most 1",
        ),
    ),
    Model(
        "kling-v3-turbo",
        (),
        image_subject=False,
        video_subject=False,
        subjects_per_request=NO_SUBJECTS,
    ),
    Model(
        "kling-v2-6", (), image_subject=False, video_subject=False, subjects_per_request=NO_SUBJECTS
    ),
    Model(
        "kling-v2-5-turbo",
        (),
        image_subject=False,
        video_subject=False,
        subjects_per_request=NO_SUBJECTS,
    ),
)


def _model_names(models: Iterable[Model]) -> tuple[str, ...]:
    return tuple(name for one in models for name in (one.model, *one.aliases))


# By reference_type: every name of every model that takes such a subject.
MODELS_BY_REFERENCE_TYPE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        IMAGE: _model_names(one for one in MODELS if one.image_subject),
        VIDEO: _model_names(one for one in MODELS if one.video_subject),
    }
)
