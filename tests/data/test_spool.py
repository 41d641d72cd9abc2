import errno
import io
import mmap
import os
import tempfile

import numpy as np
import psutil
import pyarrow as pa
import pytest

from matlode.data import spool as module
from matlode.data.crystals import Crystals
from matlode.data.spool import MappedArray, SpooledCrystals, SpooledTables
from matlode.errors import WriteError

FIELDS = ("lattices", "numbers", "frac_coords", "occupancies", "offsets")


def same(one, other):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def parts_of(crystals, *ends):
    return [crystals.take(np.arange(a, b)) for a, b in zip((0, *ends), ends, strict=False)]


def test_spooled_crystals_are_all_of_them_in_order(starter):
    few = starter.crystals.take(np.arange(50))
    same(SpooledCrystals(parts_of(few, 0, 7, 7, 50)).crystals, few)


@pytest.mark.parametrize("n", [1, 7, 50, 1000])
def test_parts_are_all_crystals_once_and_can_be_read_again(starter, n):
    few = starter.crystals.take(np.arange(50))
    spool = SpooledCrystals([few])
    for _ in range(2):  # memory was let go in between
        seen = list(spool.parts(n))
        assert [row for rows, _ in seen for row in range(rows.start, rows.stop)] == list(range(50))
        same(Crystals.concatenate([part for _, part in seen]), few)


def test_some_of_them_are_spooled_again(starter):
    few = starter.crystals.take(np.arange(50))
    keep = np.random.default_rng(0).random(50) < 0.5
    same(SpooledCrystals([few]).taken(keep).crystals, few.take(keep))


def test_no_crystals_are_one_empty_part():
    spool = SpooledCrystals([])
    ((rows, part),) = spool.parts(10)
    assert (rows, len(part)) == (slice(0, 0), 0)


def test_what_goes_wrong_in_a_part_is_not_the_disks_fault():
    def parts():
        raise FileNotFoundError("given.cif")
        yield

    with pytest.raises(FileNotFoundError, match=r"given\.cif"):
        SpooledCrystals(parts())


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2_000_000,), (5, 2)])
def test_mapped_arrays_begin_with_zeros_and_keep_what_is_written(shape):
    array = MappedArray.zeros(np.float32, shape)
    assert array.values.shape == shape
    assert not array.values.any()
    array.values[:] = 7
    array.release_memory()
    assert (array.values == 7).all()


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="memory cannot be given back here")
def test_memory_is_given_back():
    array = MappedArray.zeros(np.uint8, (200_000_000,))
    process = psutil.Process()
    before = process.memory_info().rss
    array.values[:] = 1
    filled = process.memory_info().rss
    array.release_memory()
    after = process.memory_info().rss
    assert filled - before > 150e6
    assert after - before < 50e6


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be taken here")
def test_all_the_room_is_taken_at_once(monkeypatch):
    """What is missing of it when it is used ends the process with a signal."""
    taken, opened = [], module.TemporaryFile

    def watched():
        file = opened()
        taken.append(os.dup(file.fileno()))
        return file

    monkeypatch.setattr(module, "TemporaryFile", watched)
    MappedArray.zeros(np.uint8, (10_000_000,))
    assert os.fstat(taken[0]).st_blocks * 512 >= 10_000_000
    os.close(taken[0])


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(WriteError, match=r"no space for temporary files .* TMPDIR"):
        MappedArray.zeros(float, (3,))
    with pytest.raises(WriteError, match=r"no space for temporary files .* TMPDIR"):
        SpooledCrystals([])
    with pytest.raises(WriteError, match=r"no space for temporary files .* TMPDIR"):
        SpooledTables()


def test_spooled_tables_come_again_as_they_were_even_between_two_more():
    empty = pa.table({"a": pa.array([], pa.int64())})
    tables = [pa.table({"a": [1, 2]}), empty, pa.table({"b": ["c"]})]
    with SpooledTables() as spool:
        places = []
        for n, table in enumerate(tables, start=1):
            places.append(spool.add(table))
            for _ in range(2):
                read = zip(map(spool.read, places), tables[:n], strict=True)
                assert all(one.equals(other) for one, other in read)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["write", "flush", "seek"])
def test_a_full_disk_is_told_wherever_it_shows(what, monkeypatch):
    class Full(io.BytesIO):
        """A file on a disk that has no room left when ``what`` is done, and when it is closed."""

        def close(self):
            closed = self.closed
            super().close()
            if not closed:
                full()

    setattr(Full, what, full)
    monkeypatch.setattr(module, "TemporaryFile", Full)
    with (
        pytest.raises(WriteError, match=r"no space for temporary files .* TMPDIR"),
        SpooledTables() as spool,
    ):
        spool.add(pa.table({"a": [1, 2]}))
