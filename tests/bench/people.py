"""Patients of an imaging centre in Hong Kong, made up: two in three with a romanised and an ideographic name.

The same seed and number make the same patient. How often a surname or a syllable occurs falls as it does in life: the
first of each list is some twenty times as common as the last.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

_SURNAMES = (
    "CHAN陳 WONG黃 LEE李 CHEUNG張 LAU劉 LAM林 NG吳 CHENG鄭 HO何 LEUNG梁 TSANG曾 YEUNG楊"
    " YIP葉 CHOW周 CHU朱 KWOK郭 MA馬 TAM譚 TANG鄧 HUI許 FUNG馮 LO羅 SIU蕭 YUEN袁 TSE謝"
    " POON潘 MOK莫 SO蘇 WAN溫 KWAN關 TO杜 MAK麥 SHUM沈 LUI呂 AU歐 PANG彭 FAN范 SIN冼 WU胡"
    " YU余 CHIU趙 KAN簡 LOK駱 TING丁 HUNG洪 MAN文 OUYANG歐陽 SZETO司徒"
)
_SYLLABLES = (
    "MING明 WAI偉 MAN文 KA家 CHI志 YAN欣 LING玲 WING永 KIT傑 SIU小 YEE儀 MEI美 HO浩 KIN健"
    " TAI大 LAI麗 YING英 FAI輝 KWOK國 TSZ子 CHUN俊 HOI海 LOK樂 WAH華 FONG芳 PO寶 KEUNG強"
    " YUK玉 SAU秀 SHAN珊 HING興 CHING靜 KWAN君 PUI佩 SUM心 TUNG東 YUE宇 HAU孝 ON安 FUK福"
    " SING星 PING平 LUNG龍 FUNG鳳 KUEN娟 NGA雅 OI愛 TAK德 CHEONG昌 YIN燕"
)
_ENGLISH = (
    "SMITH JONES TAYLOR BROWN WILLIAMS WILSON JOHNSON DAVIES PATEL ROBINSON WRIGHT THOMPSON EVANS WALKER"
    " WHITE ROBERTS GREEN HALL WOOD JACKSON CLARKE SINGH KHAN LEWIS HARRIS CHAPMAN SANTOS CRUZ REYES"
    " GARCIA RAMOS NORMAN FREEMAN FERNANDES GURUNG RAI LIMBU THAPA O'BRIEN MUELLER DUBOIS TANAKA SUZUKI"
    " KIM PARK NGUYEN TRAN"
)
_GIVEN = (
    "MARY JOHN MARIA DAVID ANNA PETER GRACE JAMES ROSE MICHAEL JENNIFER PAUL SARAH RICHARD LINDA MARK"
    " SUSAN ANDREW EMILY STEPHEN JOY THOMAS ANGELA DANIEL CHERRY KEVIN HELEN SIMON RAJ SITA HIRO YUKO"
)


def _weighted(words: Sequence[str]) -> tuple[Sequence[str], list[float]]:
    return words, list(itertools.accumulate(1 / (rank + 2) for rank in range(len(words))))


_CHINESE = _weighted(_SURNAMES.split()), _weighted(_SYLLABLES.split())
_FOREIGN = _weighted(_ENGLISH.split()), _weighted(_GIVEN.split())


@dataclass(frozen=True, slots=True)
class Patient:
    """Who is examined."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


def patient(seed: object, number: int) -> Patient:
    """The patient with this number."""
    chance = random.Random(f"{seed}/patient/{number}")
    name = _romanised(chance) if chance.random() < 0.66 else _foreign(chance)
    born = f"{chance.randrange(1930, 2015)}{chance.randrange(1, 13):02}{chance.randrange(1, 29):02}"
    return Patient(f"P{number:08}", name, born, chance.choice("FM"))


def _romanised(chance: random.Random) -> str:
    surname, *syllables = _pick(chance, _CHINESE[0], 1) + _pick(chance, _CHINESE[1], chance.choice((1, 2, 2, 2)))
    latin, signs = _parts(surname)
    given = [_parts(syllable) for syllable in syllables]
    return f"{latin}^{' '.join(word for word, _ in given)}={signs}^{''.join(sign for _, sign in given)}"


def _foreign(chance: random.Random) -> str:
    return "^".join(_pick(chance, _FOREIGN[0], 1) + _pick(chance, _FOREIGN[1], 1))


def _pick(chance: random.Random, words: tuple[Sequence[str], list[float]], count: int) -> list[str]:
    return chance.choices(words[0], cum_weights=words[1], k=count)


def _parts(word: str) -> tuple[str, str]:
    """`CHAN陳` as (CHAN, 陳)."""
    latin = word.rstrip("".join(sign for sign in word if not sign.isascii()))
    return latin, word[len(latin) :]
