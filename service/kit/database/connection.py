"""A connection to Postgres, and how statements are run on it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Final, cast

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg as driver_words
from sqlalchemy.engine import Compiled
from sqlalchemy.sql.cache_key import CacheKey

from service.kit.database.errors import DRIVER_ERRORS, translate_errors
from service.kit.errors import Unavailable

Row = asyncpg.Record  # columns by their places and by their names: row[0], row["id"]; or unpacked

_DIALECT: Final = driver_words.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types there
_NO_VALUES: Final = MappingProxyType[str, Any]({})
# There are as many as are written down, and of those that are put together as many as there are
# choices; as callers choose which columns of a subscriber change, this has a bound.
_compiled: Final[dict[object, Compiled]] = {}
MAX_COMPILED = 2000


class Connection:
    """A connection that is the caller's own for a while: inside a transaction, or with a
    transaction for each statement, as Database has opened it.

    A clause is text() or an expression. It is compiled once for the driver, whatever its values
    are. So its SQL must not depend on them: several values are one array, as in
    `id = ANY (CAST(:ids AS text[]))`, never in_(). In text() a CAST is needed wherever Postgres
    cannot tell a parameter's type. JSON goes in and comes out as Python objects.
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def execute(
        self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES
    ) -> Sequence[Any]:
        """Run a statement with the values of its named parameters; its rows, each a Row.

        Unavailable, if Postgres, or the way to it, will get over what went wrong; else the driver's
        own error, which is a fault of ours.
        """
        sql, parameters = _compile_for_driver(clause, values)
        with translate_errors(self._driver):
            rows: Sequence[Any] = await self._driver.fetch(sql, *parameters)
        return rows

    async def first(self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES) -> Any:  # noqa: ANN401 - a Row
        """The first of a statement's rows; None if there is none."""
        return next(iter(await self.execute(clause, values)), None)

    async def scalar(self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES) -> Any:  # noqa: ANN401 - whatever the column is
        """The first column of a statement's first row; None if there is no row."""
        row = await self.first(clause, values)
        return None if row is None else row[0]

    @asynccontextmanager
    async def transaction(self, *, commit: bool = True) -> AsyncIterator[None]:
        """What is executed meanwhile is committed at the end, unless `commit` is false, or rolled
        back on any error."""
        transaction = self._driver.transaction()
        await self._step(transaction.start)
        try:
            yield
        except BaseException:
            with suppress(Unavailable, *DRIVER_ERRORS):
                await self._step(transaction.rollback)
            raise
        await self._step(transaction.commit if commit else transaction.rollback)

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            with translate_errors(self._driver):
                await step()
        except BaseException:
            self._driver.terminate()  # nobody else may go on in this transaction
            raise


def _compile_for_driver(clause: ClauseElement, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A clause with numbered parameters, and what these are in their order."""
    # SQLAlchemy's own key, which clauses share that differ in nothing but their values; they are in
    # the key's `bindparams`.
    key = cast(CacheKey, clause._generate_cache_key())  # noqa: SLF001 - there is no public way
    compiled: Any = _compiled.get(key.key)
    if compiled is None:
        if len(_compiled) >= MAX_COMPILED:
            _compiled.clear()
        compiled = _compiled[key.key] = clause.compile(dialect=_DIALECT, cache_key=key)
    given = compiled.construct_params(values, extracted_parameters=key.bindparams)
    return compiled.string, [given[name] for name in compiled.positiontup]
