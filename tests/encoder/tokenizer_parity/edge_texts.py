"""5,000 texts, as bytes, at the edges of a BERT tokenizer; the same on every run."""

import random
import unicodedata

SPECIAL = ["[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]"]
BLOCKS = {
    "cjk": [
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x2A6DF),
        (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F),
        (0x2B820, 0x2CEAF),
        (0x2CEB0, 0x2EBEF),
        (0x2F800, 0x2FA1F),
        (0x30000, 0x3134F),
        (0x31350, 0x323AF),
        (0x2E80, 0x2FDF),
        (0x3000, 0x303F),
        (0x3040, 0x30FF),
        (0x3100, 0x312F),
    ],
    "hangul": [
        (0x1100, 0x11FF),
        (0x3130, 0x318F),
        (0xA960, 0xA97F),
        (0xAC00, 0xD7A3),
        (0xD7B0, 0xD7FF),
    ],
    "southeast": [(0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)],
    "indic": [
        (0x0900, 0x0DFF),
        (0x0F00, 0x0FFF),
        (0x1B00, 0x1BFF),
        (0xA980, 0xA9DF),
        (0x11000, 0x114FF),
    ],
    "semitic": [(0x0590, 0x06FF), (0x0700, 0x08FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFF)],
    "letters": [
        (0x00A0, 0x024F),
        (0x0250, 0x02FF),
        (0x0370, 0x058F),
        (0x10A0, 0x10FF),
        (0x13A0, 0x13FF),
        (0x1C80, 0x1CBF),
        (0x1D00, 0x1DBF),
        (0x1E00, 0x1FFF),
        (0x2C00, 0x2DFF),
        (0xA640, 0xA7FF),
        (0xAB30, 0xABBF),
        (0xFF00, 0xFFEF),
        (0x10400, 0x104FF),
        (0x1E900, 0x1E95F),
        (0x118A0, 0x118DF),
    ],
    "signs": [
        (0x2000, 0x206F),
        (0x2070, 0x214F),
        (0x2150, 0x23FF),
        (0x2400, 0x2BFF),
        (0x2E00, 0x2E7F),
        (0x1D100, 0x1D1FF),
        (0x1D400, 0x1D7FF),
    ],
    "emoji": [
        (0x1F300, 0x1F5FF),
        (0x1F600, 0x1F64F),
        (0x1F680, 0x1F6FF),
        (0x1F900, 0x1FAFF),
        (0x2600, 0x27BF),
    ],
    "control": [
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0xFFF0, 0xFFFF),
        (0xE0000, 0xE007F),
    ],
    "private": [(0xE000, 0xE0FF), (0xF8F0, 0xF8FF), (0xF0000, 0xF00FF), (0x10FF00, 0x10FFFF)],
    "unassigned": [
        (0x0378, 0x0379),
        (0x05C8, 0x05CF),
        (0x2FE0, 0x2FEF),
        (0x1FB00, 0x1FFFF),
        (0x40000, 0x400FF),
        (0xE0080, 0xE01FF),
        (0xFDD0, 0xFDEF),
        (0x3FFFE, 0x3FFFF),
    ],
}
MARKS = [
    (0x0300, 0x036F),
    (0x0483, 0x0489),
    (0x0591, 0x05C7),
    (0x064B, 0x065F),
    (0x093C, 0x094D),
    (0x0E31, 0x0E3A),
    (0x0F71, 0x0F84),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20FF),
    (0x302A, 0x302F),
    (0xFE20, 0xFE2F),
    (0x1D165, 0x1D172),
    (0x11046, 0x1107F),
    (0x16FF0, 0x16FF1),
    (0x1E8D0, 0x1E8D6),
    (0x1E944, 0x1E94A),
]
SPACES = [
    "\t",
    "\n",
    "\v",
    "\f",
    "\r",
    "\x1c",
    "\x1f",
    " ",
    "\x85",
    "\xa0",
    "\u1680",
    "\u180e",
    "\u2000",
    "\u2003",
    "\u200a",
    "\u200b",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u205f",
    "\u2060",
    "\u3000",
    "\ufeff",
]
WORDS = (
    "the of embedding unaffable tokenization naïve café résumé Ångström coöperate İstanbul ıssız "
    "ẞtraße ΣΊΣΥΦΟΣ Ǆ ﬁne Москва Ёлка Йод ελληνικά Ὀδυσσεύς עברית العربية हिन्दी ไทย 한국어 日本語 "
    "中文 x1 3.14 C++ don't e-mail [x] ## "
    "##ing Việt Nam Ḍ̇ ǖ ﷺ ½ ™ Ω K Å"
).split()


def one(rng, ranges):
    low, high = rng.choice(ranges)
    return chr(rng.randint(low, high))


def word(rng):
    return rng.choice(WORDS)


def mixed(rng, n):
    """n pieces of every kind, so that rules meet."""
    pools = list(BLOCKS.values())
    kinds = [
        lambda: word(rng),
        lambda: one(rng, rng.choice(pools)),
        lambda: one(rng, MARKS) * rng.randint(1, 2),
        lambda: rng.choice(SPACES),
        lambda: rng.choice(SPECIAL),
        lambda: chr(rng.randint(0x20, 0x7E)),
    ]
    return "".join(rng.choices(kinds, weights=(4, 6, 5, 3, 1, 4), k=1)[0]() for _ in range(n))


def long_words(rng):
    """Words of 99 to 102 code points, counted before and after normalisation."""
    for n in (1, 98, 99, 100, 101, 102, 200, 1000):
        for unit in (
            "a",
            "A",
            "z",
            "é",
            "e\u0301",
            "\u0301",
            "İ",
            "\u1fb4",
            "한",
            "ก",
            "я",
            "ß",
            "x\u200d",
            "中",
            "\U0001d165\u302e",
            "\U0001f600",
            "\u0f73",
            "ǅ",
            "-",
            "a\u00ad",
            "\u0344",
        ):
            yield unit * n
            yield "the " + unit * n + ", end"
            yield unit * (n - 1) + "q"
            yield "##" + unit * n
    for n in (99, 100, 101):
        yield "un" + "e\u0301" * (n - 2)
        yield "".join(rng.choice("abcdefgh") for _ in range(n))


def invalid(rng):
    """Bytes that are not UTF-8."""
    samples = [
        b"\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xf0\x9f",
        b"\xf0",
        b"\x80",
        b"\xbf\xbf",
        b"\xc3",
        b"\xe1\x80",
        b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf",
        b"\xfe\xfe\xff\xff",
        b"[C\xffLS]",
        b"[CLS\xc3]",
        b"\xc3[SEP]",
        b"\xe2\x82[MASK]",
    ]
    for s in samples:
        yield from (
            s,
            b"a" + s + b"b",
            b"word " + s + b" word",
            s + s,
            "é".encode() + s + "中".encode(),
        )
    for _ in range(300):
        data = bytearray(mixed(rng, rng.randint(1, 12)).encode())
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            if rng.random() < 0.5:
                data[at : at + 1] = bytes([rng.randrange(0x80, 0x100)])
            else:
                del data[at : at + 1]
        yield bytes(data)


def special(rng):
    for s in SPECIAL:
        yield from (
            s,
            s + s,
            f"a{s}b",
            f" {s} ",
            f"\n{s}\t{s}",
            s.lower(),
            f"[{s}]",
            s[:-1],
            s[1:],
            f"e{s}\u0301",
            f"\u0301{s}\u0301a",
            f"\U0001d165{s}\u302e",
            f"中{s}中",
            s[:3] + "\u0301" + s[3:],
            s[:2] + "\u200d" + s[2:],
            f"the{s}ing",
            f"{s}##ing",
            f"##{s}",
            s.replace("[", "［"),
            s[:-1] + " ]",
            f"[{s[:-1]}{s}",
        )
    for _ in range(200):
        yield "".join(
            rng.choice(SPECIAL + ["[", "]", "C", "CLS", " ", "a", "\u0301", "SEP]"])
            for _ in range(rng.randint(1, 10))
        )


def accents(rng):
    for c in (
        list(range(0xC0, 0x250)) + list(range(0x1E00, 0x2000, 3)) + list(range(0x0386, 0x0560, 7))
    ):
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, f"a{chr(c)}b")
    for _ in range(700):
        yield "".join(
            rng.choice("aeiouUNcя가\u1100\u09c7中")
            + "".join(one(rng, MARKS) for _ in range(rng.randint(0, 4)))
            for _ in range(rng.randint(1, 6))
        )


def emoji():
    yield from (
        "👨‍👩‍👧‍👦",
        "👩🏽‍🚀",
        "🏳️‍🌈",
        "🇫🇷🇩🇪",
        "1️⃣",
        "❤️",
        "❤",
        "a👍b",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "😀" * 101,
        "text😀text",
        "☃︎ ☃️",
        "👁️‍🗨️",
        "🧑🏿‍🤝‍🧑🏻",
    )


def edge_texts(count=5000):
    rng = random.Random(5)
    texts = [b"", b" ", b"\n" * 10, b"\x00", b"a\x00b"]
    texts += [
        s.encode()
        for a in SPACES
        for s in (a, f"a{a}b", f"{a}a", f"a{a}", f"é{a}\u0301", f"word{a}{a}word")
    ]
    texts += [
        s.encode()
        for source in (long_words(rng), special(rng), accents(rng), emoji())
        for s in source
    ]
    texts += list(invalid(rng))
    texts += [
        ("word " * 20000).encode(),
        ("Ünïcödé 中文 " * 5000).encode(),
        ("a" * 200000).encode(),
        ("[MASK]" * 3000).encode(),
        ("\u302e\U0001d165" * 2000).encode(),
        (".,!" * 5000).encode(),
    ]
    for ranges in BLOCKS.values():
        for _ in range(60):
            texts.append(
                "".join(
                    one(rng, ranges) + rng.choice(["", "", " ", "a", "\u0301"])
                    for _ in range(rng.randint(1, 12))
                ).encode()
            )
    assert len(texts) < count, len(texts)
    while len(texts) < count:
        texts.append(mixed(rng, rng.randint(1, 30)).encode())
    return texts
