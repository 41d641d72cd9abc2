"""The record of a campaign: a table with one row per finished block, in an SQL database.

Only the coordinator writes it. A campaign that is interrupted goes on from its finished blocks.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from matlode.errors import GoalError, InputError

Answer = TypeVar("Answer")

PATIENCE_S = 600.0
"""Time for which a server that does not answer is asked again; workers go on meanwhile."""
RETRY_S = 1.0
LOCK_S = 60
"""Time for which a locked SQLite file is waited for."""
MAX_RECORD_BYTES = 2**24 - 1
"""Largest record of a block, in MySQL."""
VERSION = 1
TABLES = sa.MetaData()
CAMPAIGNS = sa.Table(
    "matlode_campaigns",
    TABLES,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
)
BLOCKS = sa.Table(
    "matlode_blocks",
    TABLES,
    sa.Column("campaign", sa.ForeignKey(CAMPAIGNS.c.name), primary_key=True),
    sa.Column("block", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("best_merit", sa.Double),
    sa.Column("best_formula", sa.String(200), nullable=False),
    sa.Column("record", sa.LargeBinary(MAX_RECORD_BYTES), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)


class RecordState(NamedTuple):
    """How far a campaign is."""

    blocks_done: int
    best_merit: float | None
    """None before the first block is done."""
    best_formula: str | None


@dataclass(frozen=True)
class Record:
    """The finished blocks of one campaign."""

    database: sa.Engine
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
        wanted = json.dumps(request, sort_keys=True)
        with convert_opening_errors(url):
            database = _connect(url)
            TABLES.create_all(database)
            with database.begin() as connection:
                begun = _read_request(connection, campaign)
                if begun is None:
                    row = {"name": campaign, "version": VERSION, "request": wanted}
                    connection.execute(sa.insert(CAMPAIGNS).values(row))
        if begun is not None and is_new:
            raise GoalError(
                f'there is a campaign "{campaign}" in {shown(url)} already; choose another name, '
                "or continue it with `matlode resume`."
            )
        if begun not in (None, wanted):
            raise GoalError(
                f'the campaign "{campaign}" was started with another goal, other settings or other '
                "models; choose another name."
            )
        return cls(database, campaign, wanted)

    @classmethod
    def join(cls, url: str, campaign: str) -> Record:
        """Open an existing record for reading; raises InputError if there is none."""
        request = None
        with convert_opening_errors(url):
            database = _connect(url)
            if sa.inspect(database).has_table(CAMPAIGNS.name):
                with database.connect() as connection:
                    request = _read_request(connection, campaign)
        if request is None:
            raise InputError(
                f'no campaign "{campaign}" in {shown(url)}; check the storage and the name.'
            )
        return cls(database, campaign, request)

    def close(self) -> None:
        """Close the connections to the database."""
        self.database.dispose()

    def write(self, block: int, record: bytes, merit: float | None, formula: str) -> None:
        """Write the result of a block, with its best ``merit`` and formula, completely or not at
        all."""
        row = {
            "campaign": self.campaign,
            "block": block,
            "best_merit": merit,
            "best_formula": formula,
            "record": record,
            "sha256": self._digest(block, record, merit, formula),
        }
        same = (BLOCKS.c.campaign == self.campaign) & (BLOCKS.c.block == block)

        def write(connection: sa.Connection) -> None:
            # a server may be lost after it wrote and before it said so
            connection.execute(sa.delete(BLOCKS).where(same))
            connection.execute(sa.insert(BLOCKS).values(row))

        self._transact(write)

    def list_finished(self) -> set[int]:
        """Numbers of the finished blocks."""
        return {row.block for row in self._select(sa.select(BLOCKS.c.block))}

    def read(self, block: int) -> bytes:
        """The result of a finished block; raises InputError if it was damaged or edited."""
        rows = self._select(sa.select(BLOCKS).where(BLOCKS.c.block == block))
        return self._require_intact(rows[0] if rows else None, block)

    def read_state(self) -> RecordState:
        """Number of finished blocks, and the best merit and formula so far; raises InputError if
        the best block was damaged or edited."""
        n = len(self._select(sa.select(BLOCKS.c.block)))
        is_judged = BLOCKS.c.best_merit.is_not(None)
        order = BLOCKS.c.best_merit.desc(), BLOCKS.c.block
        best = self._select(sa.select(BLOCKS).where(is_judged).order_by(*order).limit(1))
        if not best:
            return RecordState(n, None, None)
        self._require_intact(best[0], best[0].block)
        return RecordState(n, best[0].best_merit, best[0].best_formula)

    def _select(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """The rows of this campaign that a query finds."""
        mine = query.where(BLOCKS.c.campaign == self.campaign)
        return self._transact(lambda connection: connection.execute(mine).all())

    def _require_intact(self, row: sa.Row[Any] | None, block: int) -> bytes:
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

    def _transact(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """Do ``work`` in a transaction, again while a server does not answer."""
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
    try:
        yield
    except SQLAlchemyError as error:
        raise InputError(
            f"the storage {shown(url)} failed ({describe_cause(error)}); once it works again, "
            "continue with the same command or `matlode resume`."
        ) from error


def shown(url: str) -> str:
    """The URL of a storage for printing, without user, password and options."""
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


def _connect(url: str) -> sa.Engine:
    is_file = url.startswith("sqlite")
    options = {"timeout": LOCK_S} if is_file else {}
    return sa.create_engine(url, pool_pre_ping=not is_file, connect_args=options)


def _read_request(connection: sa.Connection, campaign: str) -> str | None:
    mine = sa.select(CAMPAIGNS).where(CAMPAIGNS.c.name == campaign)
    row = connection.execute(mine).one_or_none()
    if row is None:
        return None
    if row.version != VERSION:
        raise InputError(
            f'the campaign "{campaign}" is a record of version {row.version}, not {VERSION}; '
            "continue it with the matlode that began it."
        )
    return str(row.request)
