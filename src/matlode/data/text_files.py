"""Decode the text files of crystals and patterns."""

from __future__ import annotations

import codecs
import re

from matlode.errors import InputError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""UTF-32 before UTF-16, whose mark is the beginning of that of UTF-32."""


def decode_text(data: bytes) -> str:
    """Decode a text in UTF-8, UTF-16, UTF-32 or Latin-1.

    Raises InputError for binary content.

    >>> decode_text("Å".encode("utf-16"))
    'Å'
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    for encoding, zeros in (("utf-16-le", data[1:200:2]), ("utf-16-be", data[0:200:2])):
        # without a mark, every second byte of Latin text is 0
        if len(zeros) > 1 and not any(zeros):
            return data.decode(encoding, errors="replace")
    binary = re.search(rb"[\x00-\x08\x0e-\x19]", data)
    if binary:
        raise InputError(
            f"not a text file: byte {binary.start()} is binary; export it again as text."
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
