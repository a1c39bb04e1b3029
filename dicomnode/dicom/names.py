"""Person names, character sets, folding (PS3.5 6.1 and 6.2, PS3.3 C.12.1.1.2).

Promises text that is safe to print: no control character, line separator or change of writing direction survives.
Never warns, never logs, and never raises on bytes that a peer sent. pydicom's tables of terms and escape sequences
are used; its functions are not, because they warn, and take 8-bit bytes in ISO-IR 6 for Latin-1 without a word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, ENCODINGS_TO_CODES, custom_encoders, python_encoding

TEXT_VRS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""The VRs that (0008,0005) applies to (PS3.5 6.1.2.2)."""

_ASCII: Final = "iso8859"  # pydicom's codec name for ISO-IR 6: what is not ASCII in it is dealt with here
_STAND_ALONE: Final = frozenset(("ISO_IR 192", "GB18030", "GBK", "BIG5"))  # PS3.3 C.12.1.1.2: no code extensions
_ESC: Final = b"\x1b"
_JAPANESE: Final = ("iso2022_jp", "iso2022_jp_2")  # codecs that read their escape sequences themselves
_LATIN_9: Final = {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
"""Since 2023."""
_ROMAN: Final = ("shift_jis", *_JAPANESE)
_NOT_ROMAN: Final = re.compile("[¥‾]")
"""Where JIS X 0201 has these, every reader sees the backslash and the tilde of ISO-IR 6."""
_TERMS: Final = python_encoding | _LATIN_9 | {"BIG5": "big5"}  # no term of the standard, and sent all the same
_MULTI_BYTE: Final = frozenset(f"ISO 2022 IR {number}" for number in (58, 87, 149, 159))
_STANDARD: Final = frozenset(_TERMS) - {"BIG5", "ISO 2022 GBK", "ISO 2022 58"}
_DEFAULTS: Final = frozenset(("", "ISO_IR 6", "ISO 2022 IR 6", "ISO_IR 100", "ISO 2022 IR 100"))
_ESCAPES: Final = CODES_TO_ENCODINGS | {b"\x1b-b": "iso8859_15"}
_CODES: Final = ENCODINGS_TO_CODES | {"iso8859_15": b"\x1b-b"}

# PS3.5 6.1.2.5.3: what ends the effect of an escape sequence; tab is not in the list and pydicom has it.
_PN_RESETS: Final = re.compile(rb"[\^=\\]")
_RESETS: Final = re.compile(rb"[\r\n\f\t\\]")
_LINES: Final = frozenset(("LT", "ST", "UT"))  # TAB, LF, FF and CR are text here, and a backslash is one too
_TEXT_RESETS: Final = re.compile(rb"[\r\n\f\t]")

_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINES: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ACCENTS: Final = re.compile("[\u0300-\u036f]")


def decode(value: bytes, character_set: str, vr: str, assumed: str = "") -> tuple[str, bool]:
    """`value` in Unicode, and whether all of it could be decoded; multi-values stay joined by backslashes.

    `character_set` is the raw (0008,0005), '' for ISO-IR 6; `assumed` is that of a peer who does not declare it, or a
    wrong one (see `assume`). What cannot be decoded becomes U+FFFD, as do control characters; bytes beyond ASCII that
    nothing declares are read as UTF-8 if they are that, else as Latin-1 (False).
    """
    text = assume(value, character_set, vr, assumed)
    if text is not None:
        return text, True
    value = value.rstrip(b"\0")
    encodings, known = _encodings(character_set)
    try:
        text, good = _decode(value, encodings, _resets(vr)), True
    except UnicodeError:
        text, good = _guess(value, encodings)
    good = (good and known) or (not known and value.isascii())
    safe = _safe(text, vr)
    return safe, good and safe == text


def assume(value: bytes, character_set: str, vr: str, assumed: str) -> str | None:
    """`value` in Unicode by the character set that is assumed of its peer; None where what is declared holds.

    It holds for ASCII, where it tells more than Latin-1 and the value is in it, and where `assumed` is '' or fits no
    better: what is assumed has to carry every byte.
    """
    value = value.rstrip(b"\0")
    if not assumed or value.isascii() or (_tells(character_set) and _strictly(value, character_set, vr) is not None):
        return None
    return _strictly(value, assumed, vr)


def fold(text: str) -> str:
    """`text` for matching that minds neither case nor Latin, Greek and Cyrillic accents: Jérôme and JEROME are one.

    Marks that make another letter (Japanese voicing, Hangul, Thai vowels) are kept.
    """
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))).casefold()


def groups(name: str) -> tuple[str, str, str]:
    """The folded alphabetic, ideographic and phonetic component groups of one PN value; '' where one is missing.

    Trailing carets and spaces mean nothing (PS3.5 6.2.1.1), so they are taken off each component and group.
    """
    parts = [_group(part) for part in name.split("=")[:3]]
    alphabetic, ideographic, phonetic = parts + [""] * (3 - len(parts))
    return alphabetic, ideographic, phonetic


def is_character_set(terms: str) -> bool:
    """Whether we know each of the terms, which are written as (0008,0005) has them."""
    return bool(terms) and _encodings(terms)[1]


def spelled(character_set: str) -> str:
    """The terms as the standard writes them, which peers often do not; '' where one is unknown, or none of its.

    PS3.3 C.12.1.1.2: of several terms each is one for code extensions, and the first has single bytes.
    """
    terms = [_term(term) for term in character_set.split("\\")]
    if terms[0] in _STAND_ALONE:
        terms = terms[:1]
    if not all(term in _STANDARD for term in terms):
        return ""
    if terms[0] in _MULTI_BYTE:
        terms = ["", *terms]
    if len(terms) == 1:
        return terms[0]
    return "\\".join(term.replace("ISO_IR", "ISO 2022 IR") for term in terms)


def encodable(text: str, character_set: str) -> bool:
    """Whether every character of `text` is in `character_set`; False for a character set that we do not know."""
    try:
        encode(text, "LO", character_set)
    except UnicodeError:
        return False
    return True


def encode(text: str, vr: str, character_set: str) -> bytes:
    """`text` in `character_set`, unpadded, with escape sequences where code extensions need them (PS3.5 6.1.2.5).

    UnicodeError: a character is not in the set, or the set is unknown.
    """
    if text.isascii():
        return text.encode("ascii")
    encodings, known = _encodings(character_set)
    if not known:
        raise UnicodeError("unknown character set")
    if not _extensible(encodings):
        return text.encode(encodings[0])
    delimiters = _resets(vr).pattern.decode("ascii")
    parts = re.split(f"({delimiters})", text)
    return b"".join(_encode_part(part, encodings) if part else b"" for part in parts)


# -- terms ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _encodings(character_set: str) -> tuple[tuple[str, ...], bool]:
    """Python's codecs for the values of (0008,0005), and whether the terms are known."""
    terms = [_term(term) for term in character_set.split("\\")]
    known = all(term in _TERMS for term in terms)
    if terms[0] in _STAND_ALONE:
        return (_TERMS[terms[0]],), known
    further = (_TERMS[term] for term in terms[1:] if term in _TERMS and term not in _STAND_ALONE)
    return (_TERMS.get(terms[0], _ASCII), *further), known


def _term(raw: str) -> str:
    """The defined term that `raw` means: spacing, case and dashes are often wrong, and what is meant is plain."""
    words = re.sub(r"[ _-]+", " ", raw.strip(" \0")).upper()
    if match := re.fullmatch(r"ISO 2022 IR (\d+)", words):
        return f"ISO 2022 IR {match[1]}"
    if match := re.fullmatch(r"ISO IR (\d+)", words):
        single, extension = f"ISO_IR {match[1]}", f"ISO 2022 IR {match[1]}"
        return single if single in _TERMS else extension  # ISO_IR 149 is no term, and Korean devices send it
    return words


def _extensible(encodings: tuple[str, ...]) -> bool:
    return encodings[0] not in ("UTF8", "GB18030", "GBK", "GB2312", "big5")


def _resets(vr: str) -> re.Pattern[bytes]:
    return _PN_RESETS if vr == "PN" else _TEXT_RESETS if vr in _LINES else _RESETS


# -- decoding ------------------------------------------------------------------------------------------------------


def _tells(character_set: str) -> bool:
    """Whether the terms say more than a device does that was never told where it stands: nothing, or Latin-1."""
    return any(_term(term) not in _DEFAULTS for term in character_set.split("\\"))


def _strictly(value: bytes, character_set: str, vr: str) -> str | None:
    """`value` as the known terms say, None where it is not in them, or would hold what is not printed."""
    encodings, known = _encodings(character_set)
    try:
        text = _decode(value, encodings, _resets(vr)) if known else None
    except UnicodeError:
        return None
    return text if text is not None and _safe(text, vr) == text else None


def _safe(text: str, vr: str) -> str:
    return (_UNSAFE_IN_LINES if vr in _LINES else _UNSAFE).sub("\ufffd", text)


def _decode(value: bytes, encodings: tuple[str, ...], resets: re.Pattern[bytes]) -> str:
    if _ESC not in value or not _extensible(encodings):
        return _strict(value, encodings[0])
    parts = re.findall(rb"^[^\x1b]+|\x1b[^\x1b]*", value)
    return "".join(_decode_part(part, encodings[0], resets) for part in parts)


def _decode_part(part: bytes, first: str, resets: re.Pattern[bytes]) -> str:
    """One stretch that starts with an escape sequence, or has none."""
    if not part.startswith(_ESC):
        return _strict(part, first)
    size = 4 if part[1:3] in (b"$(", b"$)") else 3
    encoding = _ESCAPES.get(part[:size])
    if encoding is None:
        raise UnicodeError("unknown escape sequence")
    if encoding in _JAPANESE:
        return part.decode(encoding)
    body = part[size:]
    found = resets.search(body)
    cut = found.start() if found else len(body)
    try:
        return body[:cut].decode(encoding) + _strict(body[cut:], first)
    except UnicodeError:  # some devices escape once for the whole value
        return body.decode(encoding)


def _strict(value: bytes, encoding: str) -> str:
    return value.decode("ascii" if encoding == _ASCII else encoding)


def _guess(value: bytes, encodings: tuple[str, ...]) -> tuple[str, bool]:
    """The best reading of bytes that are not what was declared."""
    if encodings[0] != _ASCII:
        return value.decode(encodings[0], "replace"), False
    try:
        return value.decode("utf-8"), _ESC not in value
    except UnicodeError:
        return value.decode("latin-1"), False


# -- encoding ------------------------------------------------------------------------------------------------------


def _encode_part(text: str, encodings: tuple[str, ...]) -> bytes:
    """`text` between two delimiters: in the first codec if it can, else in stretches, each in what carries most."""
    out = bytearray()
    current = encodings[0]
    while text:
        raw, size, encoding = max((_prefix(text, each) for each in encodings), key=lambda found: found[1])
        if not size:
            raise UnicodeError("not in the character set")
        if out or encoding != encodings[0]:
            out += _escape(encoding, raw)
        out += raw
        current, text = encoding, text[size:]
    if current in _JAPANESE:  # PS3.5 6.1.2.5.3: back to the first set's G0 before a delimiter
        out += b"\x1b(J" if encodings[0] == "shift_jis" else b"\x1b(B"
    return bytes(out)


def _prefix(text: str, encoding: str) -> tuple[bytes, int, str]:
    """As many first characters of `text` as `encoding` carries: the bytes, the number of characters, the codec."""
    try:
        return _encode_strict(text, encoding), len(text), encoding
    except UnicodeEncodeError as fault:
        size = fault.start
    return (_encode_strict(text[:size], encoding) if size else b""), size, encoding


def _encode_strict(text: str, encoding: str) -> bytes:
    if encoding in _ROMAN and (found := _NOT_ROMAN.search(text)):
        raise UnicodeEncodeError(encoding, text, found.start(), found.end(), "would be read as another character")
    if encoding in custom_encoders:
        return custom_encoders[encoding](text, "strict")
    return text.encode("ascii" if encoding == _ASCII else encoding)


def _escape(encoding: str, raw: bytes) -> bytes:
    """What announces `encoding`; the Japanese two-byte codecs have already written theirs."""
    if encoding in _JAPANESE:
        return b""
    if encoding == "shift_jis":
        return b"\x1b)I" if raw[0] >= 0x80 else b"\x1b(J"
    return _CODES[encoding]


def _group(text: str) -> str:
    return fold("^".join(part.strip() for part in text.split("^")).rstrip("^"))
