"""Lines of varied text for comparing tokenizers: seeded, the same on every machine, no downloads.

`python tokenizer_lines.py COUNT [SEED]` prints them, one JSON string a line (texts hold line feeds
themselves).
"""

import json
import random
import sys
import unicodedata

WORD_LIST = (
    "the of and to in a is that it was for on are as with his they I at be this have from or one "
    "had by word but not what all were we when your can said there use an each which she do how "
    "their if will up other about out many then them these so some her would make like him into "
    "time has look two more write go see number no way could people my than first water been call "
    "who oil its now find long down day did get come made may part over new sound take only little "
    "work know place year live me back give most very after thing our just name good sentence man "
    "think say great where help through much before line right too mean old any same tell boy "
    "follow came want show also around form three small set put end does another well large must "
    "big even such because turn here why ask went men read need land different home us move try "
    "kind hand picture again change off play spell air away animal house point page letter mother "
    "answer found study still learn should America world transformer attention induction "
    "unbelievably antidisestablishmentarianism counterfactual don't it's we're they've I'm you'll "
    "he'd WE'RE DON'T naïve café résumé Zürich façade jalapeño Ångström smörgåsbord São coöperate"
)
WORDS = WORD_LIST.split()

CODE = [
    "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }",
    "def f(x, *args, **kwargs):\n    return [y for y in x if y is not None]\n",
    "\tif (ptr == NULL) {\n\t\treturn -EINVAL;\n\t}\n",
    "SELECT name, COUNT(*) FROM t WHERE id >= 10 GROUP BY name;",
    "<div class=\"row\"><a href='https://example.org/?q=1&amp;r=2#x'>link</a></div>",
    "<table><tr><td>1</td></tr></table><h1>t</h1><br>",
    'x = {\'key\': [1, 2.5e-3, 0xFF, 0b1010], "nested": {"a": None}}',
    "template <typename T> auto f(T&& t) -> decltype(t.size());",
    "git commit -m 'fix' && make -j8 2>&1 | tee /tmp/log.txt",
    "\\begin{align} \\frac{\\partial L}{\\partial w} &= \\sum_i x_i \\\\ \\end{align}",
    "#include <vector>\n\nint main() {\n        return 0;\n}\n",
    'let s = String::from("h\\u{e9}llo"); // comment',
    "user@example.com 192.168.0.1 ::1 C:\\Windows\\System32 ~/x.tar.gz",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "__init__ == !== === <=> => -> <- |> ... ?? ?. // /* */ <!-- --> ``` $$",
]

# First and last code points of letters of scripts.
SCRIPTS = [
    (0x0041, 0x007A),
    (0x00C0, 0x024F),
    (0x0250, 0x02AF),
    (0x0370, 0x03FF),
    (0x0400, 0x04FF),
    (0x0531, 0x0587),
    (0x05D0, 0x05EA),
    (0x0620, 0x06D3),
    (0x0710, 0x072F),
    (0x0780, 0x07B1),
    (0x0904, 0x097F),
    (0x0985, 0x09E3),
    (0x0A05, 0x0A74),
    (0x0A85, 0x0AE3),
    (0x0B05, 0x0B63),
    (0x0B83, 0x0BCD),
    (0x0C05, 0x0C63),
    (0x0C85, 0x0CE3),
    (0x0D05, 0x0D63),
    (0x0D85, 0x0DDF),
    (0x0E01, 0x0E4E),
    (0x0E81, 0x0ECD),
    (0x0F40, 0x0FBC),
    (0x1000, 0x104F),
    (0x10A0, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x135A),
    (0x13A0, 0x13F4),
    (0x1401, 0x167F),
    (0x1780, 0x17D3),
    (0x1820, 0x1878),
    (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFC),
    (0x2C00, 0x2C5F),
    (0x3041, 0x3096),
    (0x30A1, 0x30FA),
    (0x3105, 0x312F),
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0xA000, 0xA48C),
    (0xAC00, 0xD7A3),
    (0xFF21, 0xFF9D),
    (0x10330, 0x1034A),
    (0x10400, 0x1044F),
    (0x12000, 0x12399),
    (0x1D400, 0x1D7CB),
    (0x20000, 0x2A6DF),
]

EMOJI = [
    "\U0001f600",
    "\U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f1eb\U0001f1f7",
    "1\ufe0f\u20e3",
    "\u2764\ufe0f",
    "\u2764\ufe0f\u200d\U0001f525",
    "\U0001f9d1\U0001f3ff\u200d\U0001f680",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\u263a",
    "\U0001f926\U0001f3fb\u200d\u2642\ufe0f",
    "\U0001fae0",
]

SPACES = [" ", "  ", "   ", "    ", "        ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0"]
SPACES += [
    "\u3000",
    "\u2003",
    "\u200b",
    "\u2028",
    "\u0085",
    "\u1680",
    "\u202f",
    "\v",
    "\f",
    "\u180e",
    " \n ",
]

MARKS = [chr(c) for c in (*range(0x0300, 0x0340), 0x0345, 0x0360, 0x20D0, 0x3099, 0x309A, 0x093C)]

SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "<mask>"]
SPECIAL += ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<start_of_turn>", "<end_of_turn>"]
SPECIAL += ["<unused7>", "[multimodal]", "<h1>"]
SPECIAL += ["<extra_id_0>", "<0x41>", "<0x0A>", "\u2581", "\u2581\u2581", "\u2581a", "\u0120a"]
SPECIAL += ["<|im_"]
SPECIAL += ["<repo_name>", "<start_of_image>", "[INST]", "[/INST]", "\u2047", "\ufffd", "\ufeff"]

DIGITS = ["0123456789", "\u0660\u0661\u0662\u0663", "\u0966\u0967\u0968"]
DIGITS += ["\u00b2\u00b3\u00b9\u00bd\u00be"]
DIGITS += ["\u2160\u2161\u2167", "\u2460\u2461\u24ea", "\uff10\uff11\uff19", "\u4e00\u4e8c\u4e09"]
DIGITS += ["\U0001d7ce\U0001d7cf", "\u0e50\u0e51"]


class Lines:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.makers = [self.sentence, self.code, self.script_words, self.mixed_scripts, self.emoji]
        self.makers += [self.spaces, self.controls, self.marks, self.digits, self.specials]
        self.makers += [self.punctuation, self.anything, self.repeats, self.compatibility]

    def some(self, low, high):
        return range(self.random.randint(low, high))

    def sentence(self):
        words = [self.random.choice(WORDS) for _ in self.some(1, 20)]
        style = self.random.randrange(6)
        if style == 0:
            words = [w.upper() for w in words]
        elif style == 1:
            words = [w.title() for w in words]
        before = self.random.choice(["", " "])
        return before + " ".join(words) + self.random.choice([".", "", "!", " "])

    def code(self):
        line = self.random.choice(CODE)
        return " " * (4 * self.random.randrange(5)) + line if self.random.random() < 0.5 else line

    def letters(self, script, low, high):
        first, last = script
        points = (self.random.randint(first, last) for _ in self.some(low, high))
        return "".join(c for c in map(chr, points) if unicodedata.category(c)[0] in "LMN")

    def script_words(self):
        script = self.random.choice(SCRIPTS)
        return " ".join(self.letters(script, 1, 8) for _ in self.some(1, 10))

    def mixed_scripts(self):
        words = (self.letters(self.random.choice(SCRIPTS), 1, 4) for _ in self.some(1, 8))
        return self.random.choice(["", " ", ",", "-"]).join(words)

    def emoji(self):
        parts = [self.random.choice([*EMOJI, self.random.choice(WORDS)]) for _ in self.some(1, 8)]
        return self.random.choice(["", " "]).join(parts)

    def spaces(self):
        parts = []
        for _ in self.some(1, 6):
            parts.append(self.random.choice(SPACES) * self.random.choice([1, 1, 1, 2, 3]))
            parts.append(self.random.choice(["", "", self.random.choice(WORDS), "1", "."]))
        return "".join(parts)

    def controls(self):
        points = [*range(0x20), *range(0x7F, 0xA1), 0xAD, 0x200C, 0x200D, 0x200E, 0x202A, 0x2060]
        points.append(0xFFFC)
        text = "".join(chr(self.random.choice(points)) for _ in self.some(1, 4))
        return self.random.choice(WORDS) + text + self.random.choice(WORDS)

    def marks(self):
        text = ""
        for c in " ".join(self.random.choice(WORDS) for _ in self.some(1, 3)):
            text += c + "".join(self.random.choice(MARKS) for _ in self.some(0, 2))
        return self.random.choice([str, lambda t: unicodedata.normalize("NFD", t)])(text)

    def digits(self):
        parts = []
        for _ in self.some(1, 6):
            digits = self.random.choice(DIGITS[:1] * 4 + DIGITS)
            parts.append("".join(self.random.choice(digits) for _ in self.some(1, 9)))
            parts.append(self.random.choice([" ", ".", ",", "  ", "a", "/", "-", "%", ""]))
        return "".join(parts)

    def specials(self):
        parts = [self.random.choice([*SPECIAL, " ", "a", " b", "c "]) for _ in self.some(1, 6)]
        return "".join(parts)

    def punctuation(self):
        marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
        marks += "\u2026\u2014\u201c\u201d\u00ab\u00bb\u3002\uff0c\u20ac\u00a3"
        times = [1, 1, 2, 3]
        parts = []
        for _ in self.some(1, 6):
            parts.append(self.random.choice(marks) * self.random.choice(times))
        return self.random.choice(["", " ", "a"]).join(parts)

    def anything(self):
        text = ""
        for _ in self.some(1, 12):
            points = [self.random.randrange(0x3100), self.random.randrange(0x110000)]
            c = chr(self.random.choice(points))
            if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
                text += c
        return text

    def repeats(self):
        pieces = ["a", "ab", " ", "=", "-", "\n", "\t", "ha", "\u3042", "0", ".", "A "]
        piece = self.random.choice(pieces)
        return piece * self.random.choice([5, 16, 30, 31, 32, 33, 64, 100])

    def compatibility(self):
        points = [*range(0xFB00, 0xFB07), *range(0x2100, 0x214F), *range(0x3300, 0x3358)]
        points += [*range(0xFF01, 0xFF60), 0x1E9B, 0x0130, 0x0131, 0x017F, 0x00DF, 0x0958, 0x212B]
        points += [*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]
        text = "".join(chr(self.random.choice(points)) for _ in self.some(1, 8))
        return self.random.choice(WORDS) + self.random.choice(["", " "]) + text

    def line(self):
        text = self.random.choice(self.makers)()
        while self.random.random() < 0.15:
            text += self.random.choice(["", " ", "\n"]) + self.random.choice(self.makers)()
        return text


def lines(count, seed):
    """`count` texts; the same seed gives the same ones."""
    maker = Lines(seed)
    return [maker.line() for _ in range(count)]


if __name__ == "__main__":
    for text in lines(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        print(json.dumps(text))
