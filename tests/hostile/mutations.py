"""Sound files made hostile, each from a seed: the same seed gives the same file."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

NUMBERS = (
    "nan", "-nan", "inf", "-inf", "Infinity", "1e308", "-1e308", "1e309", "1e-320", "-0", "0",
    "-1", "1e5", "10000", "99999999999", "4294967295", "-2147483649", "9223372036854775808",
    "1e999999999", "9" * 5000, "1_000", "0x10", "1/0", "1,5", "1.2.3", "--1", "+", ".", "",
    "1(2)", "?", "٣", "½", "1e", "1d5", "True",
)  # fmt: skip
"""In place of a number."""
WORDS = (
    "", "D", "T", "Og", "Uue", "X", "Xx", "Vac", "H1-", "Na+", "0", "O0", "Fe0.0001", "nan", "None",
    "null", "<script>alert(1)</script>", "'; DROP TABLE trials; --", "../../../../etc/passwd",
    "/dev/zero", "file:///etc/passwd", "%s%s%n", "{0.__class__}", "${HOME}", "__import__('os')",
    "\u202egnp", "\u0000", "\ufeff", "é", "𝔘", "\ud800".encode("utf-8", "surrogatepass").decode(
        "utf-8", "replace"), "a" * 100_000, "(" * 20_000, "\\", '"', "'", "#", "[", "]", "{", "}",
    "Fe(" * 500, "&lol;", "-----", "\t", "loop_", "data_", "*",
)  # fmt: skip
"""In place of a word."""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 2**31, 2**63,
    10**40, 10**9, "", "nan", "D", "Og", "<script>", "../../x", "a" * 10_000, [], {}, [[]],
    [None], [0], {"": 0}, [1e308] * 3, "1", 3.5, [1, [2, [3, [4]]]],
)  # fmt: skip
"""In place of a value of JSON."""
DEEP = 100_000
_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_][A-Za-z_0-9+-]*")

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]


def _pick(rng: Rng, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _span(data: bytes, rng: Rng) -> tuple[int, int]:
    start = int(rng.integers(len(data) + 1))
    return start, min(len(data), start + int(rng.choice([1, 4, 30, 300, 5000])))


def flip(data: bytes, rng: Rng) -> bytes:
    """Some bytes changed."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 3, 20])) if data else 0):
        changed[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(changed)


def truncate(data: bytes, rng: Rng) -> bytes:
    """The end missing."""
    return data[: int(rng.integers(len(data) + 1))]


def cut(data: bytes, rng: Rng) -> bytes:
    """A piece missing."""
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def repeat(data: bytes, rng: Rng) -> bytes:
    """A piece there several times."""
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * int(rng.choice([1, 3, 100])) + data[end:]


def insert(data: bytes, rng: Rng) -> bytes:
    """Bytes that no text holds, marks of byte order, or deep nesting."""
    at = int(rng.integers(len(data) + 1))
    what = (
        b"\0", b"\0" * 1000, b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"\r", b"\n" * 1000, b"\x80",
        b"[" * DEEP, b'{"a":' * DEEP, b"<a>" * DEEP, b"(" * DEEP, b"'", b'"', b"\n;\n",
        b"\x1b[2J", bytes(rng.integers(0, 256, 40, dtype=np.uint8)),
    )  # fmt: skip
    return data[:at] + _pick(rng, what) + data[at:]


def lines(data: bytes, rng: Rng) -> bytes:
    """A line lost, repeated, moved or emptied."""
    rows = data.split(b"\n")
    at, to = (int(rng.integers(len(rows))) for _ in range(2))
    how = int(rng.integers(5))
    if how == 0:
        del rows[at]
    elif how == 1:
        rows[at:at] = [rows[at]] * int(rng.choice([1, 5, 2000]))
    elif how == 2:
        rows[at], rows[to] = rows[to], rows[at]
    elif how == 3:
        rows[at] = b""
    else:
        rows[at] = rows[at] + b" " + rows[to]
    return b"\n".join(rows)


def numbers(data: bytes, rng: Rng) -> bytes:
    """Numbers replaced by odd ones."""
    return _replaced(_NUMBER, NUMBERS, data, rng)


def words(data: bytes, rng: Rng) -> bytes:
    """Words replaced by odd ones."""
    return _replaced(_WORD, WORDS, data, rng)


def _replaced(pattern: re.Pattern[bytes], by: Sequence[str], data: bytes, rng: Rng) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return flip(data, rng)
    if rng.random() < 0.1:  # all alike
        one, new = _pick(rng, found)[0], _pick(rng, by).encode()
        return data.replace(one, new)[: 4 * len(data) + 200_000]
    for match in sorted(
        {int(rng.integers(len(found))) for _ in range(int(rng.choice([1, 1, 3])))}, reverse=True
    ):
        start, end = found[match].span()
        data = data[:start] + _pick(rng, by).encode() + data[end:]
    return data


def encoding(data: bytes, rng: Rng) -> bytes:
    """Another encoding, or other ends of lines."""
    text = data.decode("utf-8", "replace")
    how = int(rng.integers(6))
    if how < 4:
        return text.encode(("utf-16", "utf-16-be", "utf-32", "cp037")[how], "replace")
    return data.replace(b"\n", (b"\r", b"\r\n")[how - 4])


def binary(data: bytes, rng: Rng) -> bytes:
    """A number of a binary header replaced."""
    new = _pick(rng, (
        struct.pack("<I", 0xFFFFFFFF), struct.pack("<I", 0), struct.pack("<i", -1),
        struct.pack("<I", 0x7FFFFFFF), struct.pack("<H", 0xFFFF), struct.pack("<I", 100_000_000),
        struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), struct.pack("<f", -1),
        struct.pack("<f", 1e38), struct.pack("<d", float("nan")), struct.pack("<d", 1e308),
        struct.pack("<d", 0.0), struct.pack("<Q", 2**62), struct.pack("<d", 1e-320),
    ))  # fmt: skip
    # headers stand at the front
    most = len(data) if rng.random() < 0.3 else min(len(data), 1000)
    at = int(rng.integers(most + 1))
    if rng.random() < 0.7:
        at -= at % 4
    return data[:at] + new + data[at + len(new) :]


MAX_BYTES = 10_000_000
TEXT: tuple[Mutation, ...] = (
    flip, truncate, cut, repeat, insert, lines, numbers, numbers, numbers, words, words, encoding,
)  # fmt: skip
BINARY: tuple[Mutation, ...] = (flip, truncate, cut, repeat, insert, binary, binary, binary)


def mutate(data: bytes, rng: Rng, mutations: Sequence[Mutation]) -> bytes:
    """One to three mutations after each other."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        # three times a thousandfold is no file that this process could make
        data = _pick(rng, mutations)(data[:MAX_BYTES], rng)
    return data


def hostile(name: str, data: bytes, rng: Rng) -> bytes:
    """A file made hostile as its kind allows: archives also from inside, JSON also by value."""
    if name.endswith((".npz", ".rasx", ".brml")) and rng.random() < 0.7:
        return hostile_archive(data, rng)
    if name.endswith(".json") and rng.random() < 0.6:
        return hostile_json(data, rng)
    if name.endswith((".parquet", ".raw", ".npz", ".rasx", ".brml", ".gz", ".db")):
        return mutate(data, rng, BINARY)
    return mutate(data, rng, TEXT)


def hostile_archive(data: bytes, rng: Rng) -> bytes:
    """A zip archive with a hostile member: broken, named as a path, or growing without end."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name: source.read(name) for name in source.namelist()}
    name = _pick(rng, list(members))
    how = int(rng.integers(8))
    bomb = None
    if how == 0:
        members["../../escaped" + name] = members.pop(name)
    elif how == 1:
        del members[name]
    elif how == 2:  # half a gigabyte of nothing in half a megabyte
        bomb = name
    elif name.endswith(".npy") and how < 6:
        members[name] = _hostile_npy(members[name], rng)
    else:
        kinds = BINARY if name.endswith(".npy") else TEXT
        members[name] = mutate(members[name], rng, kinds)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for member, content in members.items():
            with target.open(member, "w", force_zip64=True) as part:
                part.write(content)
                for _ in range(600 if member == bomb else 0):
                    part.write(bytes(1 << 20))
    packed = stream.getvalue()
    if how == 7:  # sizes in the directory that are not true
        at = packed.rfind(b"PK\x01\x02")
        packed = packed[: at + 20] + struct.pack("<II", 2**31 - 1, 2**31 - 1) + packed[at + 28 :]
    return packed


def _hostile_npy(data: bytes, rng: Rng) -> bytes:
    """An array of .npy whose header promises another one."""
    shape = _pick(rng, (
        "(10000000000,)", "(1000000, 1000000)", "(-1,)", "(0,)", "(2**70,)", "(1.5,)", "()",
        "(1000000000,)", "__import__('os').getcwd()", "(" * 300 + ")" * 300,
    ))  # fmt: skip
    kind = _pick(rng, ("<f8", "|O", "<U1000000000", "V8", "<f4", "|u1", "<M8[s]", "nonsense"))
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    return head + data[128:]


def hostile_json(data: bytes, rng: Rng) -> bytes:
    """JSON with values replaced, keys lost, or lists shortened and lengthened."""
    with suppress(ValueError):
        content = json.loads(data)
        for _ in range(int(rng.choice([1, 1, 2]))):
            content = _changed(content, rng)
        return json.dumps(content).encode()
    return mutate(data, rng, TEXT)


def _changed(value: Any, rng: Rng) -> Any:
    """The value with something in it replaced, deeper inside more often than at the top."""
    if isinstance(value, Mapping) and value and rng.random() < 0.9:
        key = _pick(rng, list(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = int(rng.integers(len(value)))
        how = rng.random()
        if how < 0.15:
            return value[:at]
        if how < 0.3:
            return value + [value[at]] * int(rng.choice([1, 200]))
        return [*value[:at], _changed(value[at], rng), *value[at + 1 :]]
    return _pick(rng, VALUES)


def gzipped_bomb(n_bytes: int) -> bytes:
    """So many zeros, packed."""
    packer = zlib.compressobj(wbits=31, level=1)
    return b"".join(
        [*(packer.compress(bytes(1 << 20)) for _ in range(n_bytes >> 20)), packer.flush()]
    )


def rng_of(reader: str, seed: int) -> Rng:
    """Chance of one case."""
    return np.random.default_rng([seed, *reader.encode()])


Samples = Mapping[str, bytes]
