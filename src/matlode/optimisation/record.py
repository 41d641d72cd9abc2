"""The record of a campaign: a table with one row per finished block, in an SQL database.

Only the coordinator writes it. A campaign that is interrupted goes on from its finished blocks.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from matlode.errors import GoalError, InputError

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy import Connection

Answer = TypeVar("Answer")

PATIENCE_S = 600.0
"""Time for which a server that does not answer is asked again; workers go on meanwhile."""
RETRY_S = 1.0
LOCK_S = 60
"""Time for which a locked SQLite file is waited for."""
MAX_RECORD_BYTES = 2**24 - 1
"""Largest record of a block, in MySQL."""
VERSION = 1


class RecordState(NamedTuple):
    """How far a campaign is."""

    blocks_done: int
    best_merit: float | None
    """None before the first block is done."""
    best_formula: str | None


@dataclass(frozen=True)
class Record:
    """The finished blocks of one campaign."""

    database: sqlalchemy.Engine
    campaign: str
    request: str
    """JSON of everything that the results depend on."""

    @classmethod
    def in_memory(cls) -> Record:
        """Create a record in memory."""
        return cls.open("sqlite://", "memory", {})

    @classmethod
    def open(
        cls, url: str, campaign: str, request: Mapping[str, object], *, is_new: bool = False
    ) -> Record:
        """Open the record of a campaign in the database at the SQLAlchemy ``url``; create it if
        there is none.

        ``request`` contains everything that the results depend on. Raises GoalError if the
        campaign was started with another request, or exists although it ``is_new``; InputError,
        without passwords, if the database cannot be used.
        """
        from sqlalchemy import insert

        campaigns, _ = _tables()
        database = _connect(url)
        record = cls(database, campaign, json.dumps(request, sort_keys=True))
        with convert_opening_errors(url):
            campaigns.metadata.create_all(database)
            with database.begin() as connection:
                begun = record._read_request(connection)
                if begun is None:
                    row = {"name": campaign, "version": VERSION, "request": record.request}
                    connection.execute(insert(campaigns).values(row))
        if begun is not None and is_new:
            raise GoalError(
                f'there is a campaign "{campaign}" in {shown(url)} already; choose another name, '
                "or continue it with `matlode resume`."
            )
        if begun not in (None, record.request):
            raise GoalError(
                f'the campaign "{campaign}" was started with another goal, other settings or other '
                "models; choose another name."
            )
        return record

    @classmethod
    def join(cls, url: str, campaign: str) -> Record:
        """Open an existing record for reading; raises InputError if there is none."""
        from sqlalchemy import inspect

        campaigns, _ = _tables()
        record = cls(_connect(url), campaign, "")
        request = None
        with convert_opening_errors(url):
            if inspect(record.database).has_table(campaigns.name):
                with record.database.connect() as connection:
                    request = record._read_request(connection)
        if request is None:
            raise InputError(
                f'no campaign "{campaign}" in {shown(url)}; check the storage and the name.'
            )
        return cls(record.database, campaign, request)

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.dispose()

    def write(self, block: int, record: bytes, merit: float | None, formula: str) -> None:
        """Write the result of a block, with its best ``merit`` and formula, completely or not at
        all."""
        from sqlalchemy import delete, insert

        _, blocks = _tables()
        row = {
            "campaign": self.campaign,
            "block": block,
            "best_merit": merit,
            "best_formula": formula,
            "record": record,
            "sha256": self._digest(block, record, merit, formula),
        }

        def write(connection: Connection) -> None:
            # a server may be lost after it wrote and before it said so
            connection.execute(delete(blocks).where(self._is(block)))
            connection.execute(insert(blocks).values(row))

        self._transact(write)

    def list_finished(self) -> set[int]:
        """Numbers of the finished blocks."""
        from sqlalchemy import select

        _, blocks = _tables()
        mine = select(blocks.c.block).where(blocks.c.campaign == self.campaign)
        return set(self._transact(lambda connection: connection.scalars(mine).all()))

    def read(self, block: int) -> bytes:
        """The result of a finished block; raises InputError if it was damaged or edited."""
        from sqlalchemy import select

        _, blocks = _tables()
        wanted = select(blocks).where(self._is(block))
        row = self._transact(lambda connection: connection.execute(wanted).one_or_none())
        return self._require_intact(row, block)

    def read_state(self) -> RecordState:
        """Number of finished blocks, and the best merit and formula so far; raises InputError if
        the best block was damaged or edited."""
        from sqlalchemy import func, select

        _, blocks = _tables()
        mine = blocks.c.campaign == self.campaign
        count = select(func.count()).select_from(blocks).where(mine)
        best = select(blocks).where(mine, blocks.c.best_merit.is_not(None))
        first = best.order_by(blocks.c.best_merit.desc(), blocks.c.block).limit(1)
        n = self._transact(lambda connection: connection.scalars(count).one())
        row = self._transact(lambda connection: connection.execute(first).one_or_none())
        if row is None:
            return RecordState(n, None, None)
        self._require_intact(row, row.block)
        return RecordState(n, row.best_merit, row.best_formula)

    def _read_request(self, connection: Connection) -> str | None:
        from sqlalchemy import select

        campaigns, _ = _tables()
        mine = select(campaigns).where(campaigns.c.name == self.campaign)
        row = connection.execute(mine).one_or_none()
        if row is None:
            return None
        if row.version != VERSION:
            raise InputError(
                f'the campaign "{self.campaign}" is a record of version {row.version}, not '
                f"{VERSION}; continue it with the matlode that began it."
            )
        return str(row.request)

    def _is(self, block: int) -> sqlalchemy.ColumnElement[bool]:
        _, blocks = _tables()
        return (blocks.c.campaign == self.campaign) & (blocks.c.block == block)

    def _require_intact(self, row: sqlalchemy.Row[Any] | None, block: int) -> bytes:
        """Return the result in a row, or raise InputError if it is not what was written."""
        # SQLite keeps values of any type in any column
        intact = (
            row is not None
            and isinstance(row.record, bytes)
            and isinstance(row.best_merit, float | int | None)
            and isinstance(row.best_formula, str)
            and row.sha256 == self._digest(block, row.record, row.best_merit, row.best_formula)
        )
        if row is None or not intact:
            raise InputError(
                f'the record of block {block} of the campaign "{self.campaign}" is missing, '
                "damaged or edited; start the search again under another name."
            )
        return bytes(row.record)

    def _digest(self, block: int, record: bytes, merit: float | None, formula: str) -> str:
        """Checksum of a row and of what it was computed for."""
        facts = json.dumps([self.campaign, self.request, block, merit, formula])
        return hashlib.sha256(facts.encode() + bytes(record)).hexdigest()

    def _transact(self, work: Callable[[Connection], Answer]) -> Answer:
        """Do ``work`` in a transaction, again while a server does not answer."""
        from sqlalchemy.exc import InterfaceError, OperationalError

        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self.database.begin() as connection:
                    return work(connection)
            except (OperationalError, InterfaceError):
                # a file that fails is damaged or its disk is full
                if self.database.dialect.name == "sqlite" or time.monotonic() > end:
                    raise
            time.sleep(RETRY_S)


@contextmanager
def usable_storage(url: str) -> Iterator[None]:
    """Convert database errors in the block (such as a damaged file, a full disk or a lost server)
    to InputError without passwords."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise InputError(
            f"the storage {shown(url)} failed ({describe_cause(error)}); once it works again, "
            "continue with the same command or `matlode resume`."
        ) from error


def shown(url: str) -> str:
    """The URL of a storage for printing, without user, password and options."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return "that was given"
    if _has_unescaped_at(url):
        return "that was given"
    return f"{parsed.drivername}://{parsed.host or ''}/{parsed.database or ''}"


def _has_unescaped_at(url: str) -> bool:
    """Whether it is unknown where the password of a URL ends."""
    return not url.startswith("sqlite") and url.count("@") > 1


def describe_cause(error: BaseException) -> str:
    """First line of a message, with the passwords of URLs replaced by asterisks."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", str(error).partition("\n")[0])


@contextmanager
def convert_opening_errors(url: str) -> Iterator[None]:
    """Convert the errors of a database that cannot be opened to InputError without passwords."""
    from sqlalchemy.exc import SQLAlchemyError

    if _has_unescaped_at(url):  # a driver would repeat what follows the first one as the host
        raise InputError(
            "the URL of the storage has more than one @, so where its password ends is unknown; "
            "write %40 for an @ in a user name, a password or an option."
        )
    try:
        yield
    except (SQLAlchemyError, ImportError, ValueError, LookupError) as error:
        raise InputError(
            f"the storage {shown(url)} cannot be used ({describe_cause(error)}); expected a URL "
            "such as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, with "
            'the driver from `pip install "matlode[cluster]"`.'
        ) from None


def _connect(url: str) -> sqlalchemy.Engine:
    from sqlalchemy import create_engine

    with convert_opening_errors(url):
        is_file = url.startswith("sqlite")
        options = {"timeout": LOCK_S} if is_file else {}
        return create_engine(url, pool_pre_ping=not is_file, connect_args=options)


@cache
def _tables() -> tuple[sqlalchemy.Table, sqlalchemy.Table]:
    """Campaigns and their finished blocks."""
    from sqlalchemy import (
        Column,
        Double,
        ForeignKey,
        Integer,
        LargeBinary,
        MetaData,
        String,
        Table,
        Text,
    )

    metadata = MetaData()
    campaigns = Table(
        "matlode_campaigns",
        metadata,
        Column("name", String(200), primary_key=True),
        Column("version", Integer, nullable=False),
        Column("request", Text, nullable=False),
    )
    blocks = Table(
        "matlode_blocks",
        metadata,
        Column("campaign", ForeignKey(campaigns.c.name), primary_key=True),
        Column("block", Integer, primary_key=True, autoincrement=False),
        Column("best_merit", Double),
        Column("best_formula", String(200), nullable=False),
        Column("record", LargeBinary(MAX_RECORD_BYTES), nullable=False),
        Column("sha256", String(64), nullable=False),
    )
    return campaigns, blocks
