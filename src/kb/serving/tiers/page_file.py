"""One page in one file: a header of 4 KiB that says what the page is, then its bytes.

The header holds a magic number, the version of this format, a digest of the model and layout that the page was made
with (the fingerprint), the page's key, its length, and two checksums: of the page, and of the header itself, padding
included. So a file that was cut, continued, altered in any place, renamed, or made by another model is told from a
right one; what is told apart is refused with the reason.

The checksums are CRC-32. It finds every error within 32 neighbouring bits and every pair of wrong bits up to 512 MiB,
and misses another accident once in 4 billion. A cryptographic hash would miss none and would also resist an attacker,
who is not in question here: whoever may write this folder may write the weights. It is a matter of speed: on a core
where CRC-32 checks 7.5 GB a second, SHA-256 checks 2.2 and BLAKE2b 1.5, less than an NVMe disk delivers.

Source: Koopman 2002, 32-bit cyclic redundancy codes for Internet applications (what CRC-32 finds at which length).
"""

import hashlib
import struct
import zlib

HEADER_BYTES = 4096  # the page itself begins on a page of the system's memory
MAX_KEY_BYTES = 255
_MAGIC = b"kb-page\n"
_VERSION = 1
_FIELDS = struct.Struct("<8sI16sQIB")  # magic, version, fingerprint, length, checksum of the page, length of the key
_CHECKSUM = struct.Struct("<I")


class BadPageError(Exception):
    """A file is not the page that it should be; the message says why."""


def require_key(key: bytes) -> None:
    """Refuse what cannot be the key of a page.

    Raises:
        ValueError: it is not 1 to 255 bytes.
    """
    if not isinstance(key, bytes) or not 1 <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"key must be 1 to {MAX_KEY_BYTES} bytes, got {key!r}")


def digest(text: bytes) -> bytes:
    """16 bytes that stand for a text of any length: BLAKE2b, so that no two texts share one by accident."""
    return hashlib.blake2b(text, digest_size=16).digest()


def checksum(data: bytes | memoryview) -> int:
    """CRC-32; other threads run meanwhile."""
    return zlib.crc32(data)


def pack_header(key: bytes, fingerprint: bytes, page: memoryview) -> bytes:
    """The header of a page.

    Args:
        key: At most 255 bytes.
        fingerprint: 16 bytes, from :func:`digest`.
        page: The page's bytes.
    """
    fields = _FIELDS.pack(_MAGIC, _VERSION, fingerprint, page.nbytes, checksum(page), len(key)) + key
    body = fields.ljust(HEADER_BYTES - _CHECKSUM.size, b"\0")
    return body + _CHECKSUM.pack(checksum(body))


def read_header(header: bytes, fingerprint: bytes, page_nbytes: int) -> tuple[bytes, int]:
    """Key and checksum of the page that follows.

    Raises:
        BadPageError: the header is not one, was altered, or is of another model, layout or version of this format.
    """
    if len(header) != HEADER_BYTES:
        raise BadPageError(f"it ends after {len(header)} of the {HEADER_BYTES} bytes of the header")
    body, (wanted,) = header[: -_CHECKSUM.size], _CHECKSUM.unpack(header[-_CHECKSUM.size :])
    magic, version, maker, length, page_checksum, key_length = _FIELDS.unpack_from(body)
    if magic != _MAGIC:
        raise BadPageError("it does not begin like a page")
    if checksum(body) != wanted:
        raise BadPageError("its header was altered")
    if version != _VERSION:
        raise BadPageError(f"its format has version {version}, wanted {_VERSION}")
    if maker != fingerprint:
        raise BadPageError("it was made with another model or layout")
    if length != page_nbytes:
        raise BadPageError(f"it holds a page of {length} bytes, wanted {page_nbytes}")
    return body[_FIELDS.size : _FIELDS.size + key_length], page_checksum
