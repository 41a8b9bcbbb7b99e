"""Which models take which subjects, and how many (rule P80 of service/provider/README.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from service.subjects.domain.reference_types import IMAGE, VIDEO


@dataclass(frozen=True, slots=True)
class Limit:
    """How many subjects one request may have at most."""

    when: str  # what else the request has; "default": nothing that another limit names
    subjects: int  # of both kinds together
    image_subjects: int  # of these, those shown by images
    video_subjects: int  # of these, those shown by a video
    images_and_image_subjects: int | None  # with reference images; None: no such limit


@dataclass(frozen=True, slots=True)
class PerRequest:
    """The limits of a model; a request must keep one of those for what it has."""

    most: int  # subjects in any request
    limits: tuple[Limit, ...]  # several may be for the same `when`
    note: str  # all of it in words


@dataclass(frozen=True, slots=True)
class Model:
    """A model, and which subjects it takes."""

    model: str  # its name
    aliases: tuple[str, ...]  # its other names
    image_subject: bool  # it takes those with the reference type image_refer
    video_subject: bool  # it takes those with the reference type video_refer
    subjects_per_request: PerRequest  # how many it takes at once


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
    *(
        Model(name, (), image_subject=False, video_subject=False, subjects_per_request=NO_SUBJECTS)
        for name in ("kling-v3-turbo", "kling-v2-6", "kling-v2-5-turbo")
    ),
)


def _model_names(models: Iterable[Model]) -> tuple[str, ...]:
    return tuple(name for model in models for name in (model.model, *model.aliases))


# All names of the models that take a subject, by its reference type.
MODELS_BY_REFERENCE_TYPE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        IMAGE: _model_names(model for model in MODELS if model.image_subject),
        VIDEO: _model_names(model for model in MODELS if model.video_subject),
    }
)
