"""Who has pending deliveries: a part of the statements that end these."""


def waiting_sql(condition: str = "true") -> str:
    """A common table expression, for WITH RECURSIVE: `waiting`, with the `subscriber_id` of each
    subscriber that has something pending, and one row of NULL; empty unless this SQL condition is
    true. They are found by skipping from one subscriber to the next in the index."""
    return f"""
    waiting AS (
        (
            SELECT subscriber_id FROM deliveries WHERE state = 'pending' AND {condition}
            ORDER BY subscriber_id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT d.subscriber_id FROM deliveries d
            WHERE d.state = 'pending' AND d.subscriber_id > w.subscriber_id
            ORDER BY d.subscriber_id LIMIT 1
        )
        FROM waiting w WHERE w.subscriber_id IS NOT NULL
    )"""  # noqa: S608 - only our own words are put in
