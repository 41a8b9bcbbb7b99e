"""Which media a request refers to, and the errors and warnings about them."""

from service.media.domain.defects import Defect
from service.media.domain.references import (
    FRONTAL_IMAGE,
    MediaDefect,
    MediaReference,
    compare_images,
    has_media_urls,
    media_error,
    media_references,
)
from tests.support.request_bodies import check, request_body

HASH = "ab" * 32


def test_media_are_named_as_in_the_request() -> None:
    images = {
        "frontal_image": "https://a.test/1",
        "refer_images": [{"image_url": {"media": HASH}}, {"image_url": "https://a.test/2"}],
    }
    assert list(media_references({"element_image_list": images})) == [
        MediaReference("element_image_list/frontal_image", "image", "https://a.test/1", None),
        MediaReference("element_image_list/refer_images/0/image_url", "image", None, HASH),
        MediaReference(
            "element_image_list/refer_images/1/image_url", "image", "https://a.test/2", None
        ),
    ]
    videos = {"refer_videos": [{"video_url": "https://a.test/3"}]}
    (video,) = media_references({"element_video_list": videos})
    field = "element_video_list/refer_videos/0/video_url"
    assert video == MediaReference(field, "video", "https://a.test/3", None)
    assert list(media_references({})) == []


def test_only_media_given_by_url_are_to_be_fetched() -> None:
    mixed = request_body()
    mixed["element_image_list"]["refer_images"].append({"image_url": "https://a.test/2"})
    video = request_body(
        reference_type="video_refer",
        element_video_list={"refer_videos": [{"video_url": "https://a.test/3"}]},
    )
    needs_fetch = [has_media_urls(check(body).document) for body in (mixed, video, request_body())]
    assert needs_fetch == [True, True, False]
    documents = [check(body).document for body in (mixed, video)]
    urls = [media.url for document in documents for media in media_references(document)]
    assert urls == [None, None, "https://a.test/2", "https://a.test/3"]


def test_an_error_begins_with_what_stays_and_names_each_field() -> None:
    defects = [
        MediaDefect("a", Defect("unreachable", "could not be fetched", transient=True)),
        MediaDefect("b", Defect("too_small", "is 1 x 1 pixels")),
        MediaDefect("c", Defect("duplicate", "must differ from b")),
    ]
    assert media_error(defects) == {
        "code": "media_too_small",
        "message": "b is 1 x 1 pixels. c must differ from b. a could not be fetched",
    }
    assert media_error(defects[:1])["code"] == "media_unreachable"


def duplicates(frontal: str, *others: str) -> tuple[list[str], list[str]]:
    """The fields with defects and the pointers of warnings.

    Each name is an image with its letter for content: in capitals it is given by content, else by
    URL, which is that of its digit if it has one, else its own.
    """
    images = []
    for place, name in enumerate((frontal, *others)):
        field = f"refer/{place}" if place else FRONTAL_IMAGE
        content = name[0].lower()
        url = None if name[0].isupper() else f"https://a.test/{name[1:] or f'at-{place}'}"
        images.append((MediaReference(field, "image", url, None if url else content), content))
    defects, warnings = compare_images(images)
    assert {warning.code for warning in warnings} <= {"duplicate_image"}
    for warning in warnings:
        assert f"{warning.pointer[1:]} has the same content as" in warning.message
    return [defect.field for defect in defects], [warning.pointer for warning in warnings]


def test_what_has_the_frontal_images_content_is_wrong_and_what_has_anothers_is_warned_of() -> None:
    assert duplicates("a", "b", "c") == ([], [])
    assert duplicates("a", "b", "a") == (["refer/2"], [])
    assert duplicates("A", "b", "a") == (["refer/2"], [])
    assert duplicates("a", "A", "b") == (["refer/1"], [])
    assert duplicates("a", "b", "b", "b") == ([], ["/refer/2", "/refer/3"])
    assert duplicates("a", "B", "b") == ([], ["/refer/2"])
    assert duplicates("a", "b", "B") == ([], ["/refer/2"])
    assert duplicates("a", "b", "b", "a") == (["refer/3"], ["/refer/2"])


def test_what_the_document_names_twice_is_not_warned_of_again() -> None:
    assert duplicates("a", "b1", "b1") == ([], [])
    assert duplicates("a", "B", "B") == ([], [])
    assert duplicates("a", "b1", "b2", "b1") == ([], ["/refer/2"])
    assert duplicates("a", "b1", "B", "B") == ([], ["/refer/2"])
