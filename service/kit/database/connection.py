"""Running statements on a connection to Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Final, cast

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import Compiled
from sqlalchemy.sql.cache_key import CacheKey

from service.kit.database.errors import DRIVER_ERRORS, TranslatedErrors
from service.kit.errors import Unavailable

Row = asyncpg.Record  # columns by position and by name, row[0] and row["id"]; or unpacked

_DIALECT: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no types there
_NO_VALUES: Final = MappingProxyType[str, Any]({})
# Statements by their cache key. Those that are put together have a variant for each choice, and
# callers choose: so their number is bounded.
_compiled: Final[dict[object, Compiled]] = {}
MAX_COMPILED = 2000


class Connection:
    """A connection that is the caller's own for a while: in a transaction, or with a transaction
    for each statement, as Database has opened it.

    A clause is text() or an expression of SQLAlchemy's, compiled once whatever its values are. So
    its SQL must not depend on them: several values are one array, as in
    `id = ANY (CAST(:ids AS text[]))`, never in_(). In text() a CAST is needed wherever Postgres
    cannot tell a parameter's type. JSON goes in and comes out as Python objects.
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def execute(
        self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES
    ) -> Sequence[Any]:
        """Run a statement with the values of its named parameters, and return its rows, each a Row.

        Unavailable for an error that is transient; any other error of the driver's is raised as it
        is: it is a fault of ours.
        """
        sql, parameters = _compile_for_driver(clause, values)
        with TranslatedErrors(self._driver):
            rows: Sequence[Any] = await self._driver.fetch(sql, *parameters)
        return rows

    async def first(self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES) -> Any:  # noqa: ANN401 - a Row
        """Run a statement and return its first row; None if it has no rows."""
        return next(iter(await self.execute(clause, values)), None)

    async def scalar(self, clause: ClauseElement, values: Mapping[str, Any] = _NO_VALUES) -> Any:  # noqa: ANN401 - whatever the column is
        """Run a statement and return the first column of its first row; None if it has no rows."""
        row = await self.first(clause, values)
        return None if row is None else row[0]

    @asynccontextmanager
    async def transaction(self, *, commit: bool = True) -> AsyncIterator[None]:
        """A transaction: committed at the end of the context, rolled back on any error, or at the
        end too if `commit` is false."""
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
            with TranslatedErrors(self._driver):
                await step()
        except BaseException:
            self._driver.terminate()  # or whoever has it next would be inside this transaction
            raise


def _compile_for_driver(clause: ClauseElement, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The SQL of a clause with numbered parameters, and their values in that order."""
    # SQLAlchemy's cache key: clauses that differ in nothing but their values share it, and the
    # values are in its `bindparams`.
    key = cast(CacheKey, clause._generate_cache_key())  # noqa: SLF001 - there is no public way
    compiled: Any = _compiled.get(key.key)
    if compiled is None:
        if len(_compiled) >= MAX_COMPILED:
            _compiled.clear()
        compiled = _compiled[key.key] = clause.compile(dialect=_DIALECT, cache_key=key)
    parameters = compiled.construct_params(values, extracted_parameters=key.bindparams)
    return compiled.string, [parameters[name] for name in compiled.positiontup]
