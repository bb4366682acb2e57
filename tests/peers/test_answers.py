"""Answers in passages and MKQA's clean-up, on made-up texts in many scripts, against Python's `regex` and unicodedata."""

import json
import random
import subprocess
import unicodedata

import regex

import runs

NUM_TEXTS = 10_000

# First and last character of what letters, digits and marks are drawn from; only those are taken that are assigned.
SCRIPTS = [
    (0x41, 0x24F),  # Latin
    (0x370, 0x3FF),  # Greek, whose sigma has a form of its own at a word's end
    (0x400, 0x4FF),  # Cyrillic
    (0x531, 0x587),  # Armenian
    (0x5B0, 0x5EA),  # Hebrew, with points
    (0x620, 0x660),  # Arabic, with marks
    (0x900, 0x97F),  # Devanagari
    (0x980, 0x9FE),  # Bengali
    (0xB80, 0xBFA),  # Tamil
    (0xC00, 0xC7F),  # Telugu
    (0xE01, 0xE5B),  # Thai
    (0x10A0, 0x10FF),  # Georgian
    (0x1780, 0x17F9),  # Khmer
    (0x1E00, 0x1FFF),  # Latin and Greek with accents, composed
    (0x3041, 0x30FF),  # kana
    (0x4E00, 0x4E80),  # Han
    (0xAC00, 0xAC80),  # Hangul, which NFD takes apart
    (0xFF10, 0xFFEE),  # forms of full and half width
    (0x1D400, 0x1D4FF),  # letters of mathematics
]
BETWEEN = [
    " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2028", "", "\u200b", "\u00ad", "\u200d", "\ufeff",
    ".", ",", "'", "’", "-", "–", "—", "−", "…", " . . . ", "“", "”", "‘", "″", "‴", "⁗", "´", "`", "/", "⁄", "∕", "。",
    "،", "।", "€", "+", "°", "½", "™", "🙂", "\u0301", "\u0010", "\u0007", "\u000b", "\u0085", "\u007f", "~", "〜",
]  # fmt: skip


def texts() -> list[dict]:
    draw = random.Random(5)
    characters = [
        [c for c in map(chr, range(first, last + 1)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
        for first, last in SCRIPTS
    ]

    def word() -> str:
        own = draw.choice(characters)
        return "".join(draw.choices(own, k=draw.randint(1, 5)))

    lines = []
    for _ in range(NUM_TEXTS):
        parts = [part for _ in range(draw.randint(0, 12)) for part in (word(), draw.choice(BETWEEN))]
        text = "".join(parts)
        answers = []
        for _ in range(draw.randint(1, 3)):
            # Some of its words, in another case or form, or one cut off; or something else.
            first = draw.randrange(len(parts) + 1)
            answer = "".join(parts[first : first + draw.randint(1, 5)])
            change = draw.choice([str, str.upper, str.lower, nfc, nfd, without_last, another])
            answers.append(change(answer) if change is not another else word())
        lines.append({"text": text, "answers": answers})
    return lines


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def without_last(text: str) -> str:
    return text[:-1]


def another(text: str) -> str:
    return text


def tokens(text: str) -> list[str]:
    return [token.lower() for token in regex.findall(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]", nfd(text))]


def has_one(answers: list[str], text: str) -> bool:
    own = tokens(text)
    # DPR finds an answer without a token everywhere; here it is no answer.
    wanted = [answer for answer in map(tokens, answers) if answer]
    return any(own[i : i + len(answer)] == answer for answer in wanted for i in range(len(own)))


# What each character becomes, by what it becomes.
CLEANED = {
    "": "\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000e\u000f\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018"
    "\u0019\u001a\u001b\u00ad",
    " ": "\u000b\u000c\u0085",
    "-": "\u2010\u2011\u2043\u2012\u2013\u2014\u2015\u2212\uff0d\u207b",
    '"': "\u201c\u201d\u201e\u201f",
    "'": "\u2018\u2019\u201a\u201b\u055a\ua78b\ua78c\uff07\u0060\u00b4\u2032\u2035",
    "''": "\u2033\u2036",
    "'''": "\u2034\u2037",
    "''''": "\u2057",
    "...": "\u2026",
    "/": "\u2044\u2215",
}
TABLE = {ord(c): becomes for becomes, characters in CLEANED.items() for c in characters}


def cleaned(text: str) -> str:
    return text.translate(TABLE).replace(" . . . ", " ... ")


def test_answers_are_found_where_dpr_finds_them():
    lines = texts()
    given = "".join(json.dumps(line) + "\n" for line in lines)
    program = runs.TERCET.parent / "examples/answers"
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=True)
    # Not splitlines(), which also breaks at characters that JSON may have inside a string.
    found = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(found) == NUM_TEXTS
    expected = [has_one(line["answers"], line["text"]) for line in lines]
    assert NUM_TEXTS / 4 < sum(expected) < NUM_TEXTS * 3 / 4, "both cases must be frequent"
    for line, ours, has in zip(lines, found, expected):
        assert ours["has"] == has, line
        assert ours["cleaned"] == cleaned(line["text"]), line
