"""What is kept of the provider's answers with the signals that they bring."""

from datetime import datetime
from hashlib import sha256

from service.provider.remote.outcomes import (
    CreateOutcome,
    LookUpOutcome,
    TaskAccepted,
    TaskFound,
)
from service.subjects.domain.signal_record import SignalDetails, known_word, outcome_word

MAX_CODE = 999_999_999  # the provider's have four digits; others are not kept


def signal_details(answer: CreateOutcome | LookUpOutcome, sent_at: datetime) -> SignalDetails:
    """How a signal was learnt by an answer to a call that began at `sent_at`."""
    head = answer.head
    report = answer.report if isinstance(answer, TaskAccepted | TaskFound) else None
    message = head.message.encode() if head is not None else b""
    return SignalDetails(
        outcome=outcome_word(answer),
        sent_at=sent_at,
        status=None if report is None else known_word(report.status_word),
        provider_at=None if report is None else report.updated_at,
        code=None if head is None or abs(head.code) > MAX_CODE else head.code,
        http_status=None if head is None else head.http_status,
        request_id=None if head is None else head.request_id,
        message_size=len(message) or None,
        message_sha256=sha256(message).hexdigest() if message else None,
    )
