"""A thousand people of every script, and whether what they were written is what stands about them.

write FOLDER          puts customers.csv and orders.csv there
compare PROJECT MAIL  reads every file of MAIL, a message as it crossed the connection; prints how many there were and what is wrong

What a letter should say is worked out here anew, from the CSV and the templates. Where the program changes words on purpose, that is said
beside the rule.
"""

import csv, email, email.header, email.policy, email.utils, html, html.parser, json, os, random, re, sys, unicodedata

PEOPLE = 1000

SCRIPTS = {
    "ASCII": "Anna Berg O'Neil Smith-Jones Ann-Marie Lee",
    "Latin": "Zoë Łukasz Jürgen Ngọc Nguyễn Şükrü Þórður Čapek Ólafsdóttir Sørensen d'Artagnan O’Neil Renée-Marie",
    "Latin, taken apart": "Zoe\u0308 Re\u0301ne\u0301e Å\u0323sa N\u0303ino s\u0323\u0307o\u0302\u0323n z\u0351\u0343\u034a\u0301a\u0308\u0323lgo",
    "Greek": "Γιώργος Παπαδόπουλος Ελένη Ἀριστοτέλης ᾠδή",
    "Cyrillic": "Александра Щербакова Ђорђе Ґалаґан Йовчева Қазақбаев",
    "Hebrew": "שָׁלוֹם דָּוִד רָחֵל כֹּהֵן יְרוּשָׁלַיִם",
    "Arabic": "محمد عبد\u200cالرحمن فاطِمَة الحُسَيْنيّ پروین گلزار",
    "Devanagari": "नेहा शर्मा क्षत्रिय श्री\u200dमान् कृष्णमूर्ति",
    "Bengali and Tamil": "অনন্যা চট্টোপাধ্যায় தமிழ்ச்செல்வி கிருஷ்ணன்",
    "Thai": "สมชาย ศรีสุวรรณ ปิ่นแก้ว น้ำทิพย์",
    "Georgian and Armenian": "გიორგი ბერიძე Արամ Խաչատրյան",
    "Ethiopic": "ሀብታሙ ተስፋዬ",
    "Chinese": "王小明 歐陽娜娜 𠮷野家 龍𪚥 張偉",
    "Japanese": "山田太郎 さくら ｶﾀｶﾅ ヴァイオレット が\u3099ぎ",
    "Korean": "김민준 이서연 \u1112\u1161\u11ab\u1100\u1173\u11af 박지훈",
}
MARKS = [
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇯🇵", "❤️", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "\u200eabc\u200f", "\u061cx",
    "a\u00adb", "a\u200bb", "a\u2060b", "a\u00a0b", "\u3000全角\u3000", "ﷺ", "ﬃ", "\U0001d54f", "\ue000",
]
TRICKS = [
    ".", "..", ".hidden", "...and so on", "From nobody", ">From somebody", "--", "-- ", "---=_x--", '"quoted"', "it's", "back\\slash\\", '\\"', "a;b,c:d<e>f@g",
    "(comment (nested", "=?utf-8?q?evil?=", "=?utf-8?b?ZXZpbA==?=", "=?x", "?=", "=0D=0A.=0D=0A", "=\t", "%0d%0a", "<b>&amp;</b>", "</title><script>", "&lt;",
    "{{ 7 * 7 }}", "{% if x %}", "${x}", "Bcc: someone@example.org", "<CRLF>.<CRLF>", "1,000.00", "NULL", "#", "a  b   c", "  edges  ", "tab\there", "trailing\t",
    "line\nbreak", "line\r\nbreak\r\n", "\r\n.\r\nMAIL FROM:<x@example.org>", "bell\x07escape\x1b[31m", "next\x85line", "sep\u2028par\u2029end", "\x7fdel",
    "over\u202eride\u202c", "iso\u2066late\u2069d", "\ufeffmark",
]
BEHIND_NAMES = [' "The\\Cat"', " (x)", ", Jr.", " =?utf-8?q?x?=", "\u202e", "\t", " ❤️", "\u200f"]


def letters(script):
    return SCRIPTS[script].split(" ")


def write(folder):
    dice = random.Random(17)
    scripts = list(SCRIPTS)
    os.makedirs(folder, exist_ok=True)
    columns = "customer_id email first_name last_name phone locale timezone country birthday created_at marketing_consent topic opening note link".split()
    with open(f"{folder}/customers.csv", "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, quoting=csv.QUOTE_ALL)
        table.writerow(columns)
        for n in range(PEOPLE):
            script = scripts[n % len(scripts)]
            words = letters(script)
            word = lambda: dice.choice(words)
            # Some letters are plain ASCII throughout and cross as they are.
            fitting = lambda odds: [odd for odd in odds if script != "ASCII" or odd.isascii()]
            odd = lambda: dice.choice(fitting(MARKS + TRICKS))
            text = lambda most: " ".join(dice.choice([word, word, odd])() for _ in range(dice.randint(1, most)))
            # What cannot be a name is not used as one: no letter in it, a link, an address, more than 120 characters.
            name = lambda: word() + dice.choice(fitting(["", "", "", " " + word(), " “" + word() + "”", *BEHIND_NAMES]))
            topic, opening, note = text(6), text(12), text(60)
            link = f"https://shop.example/{n}?q=%E4%BD%A0&b={dice.randint(0, 9)}"
            special = n // len(scripts) % 10
            if special == 3:
                note = "".join(word() for _ in range(2000))[:2000]
            elif special == 4:
                note = text(5) + " " + "x" * 2000 + " " + text(5)
            elif special == 5:
                topic = "".join(word() for _ in range(300))[:300] + " " + text(30)
            elif special == 6:
                link += "&long=" + "0123456789" * 190
            elif special == 7:
                opening = dice.choice(fitting(TRICKS))
            elif special == 8:
                topic = dice.choice(fitting(TRICKS) + ["z" * length for length in (60, 75, 990, 998, 2000)])
            elif special == 9:
                opening = "y" * dice.choice([75, 76, 77, 996, 997, 998, 999, 1000, 1996])
            row = [f"c{n:04}", f"person{n}@example.org", name(), name(), "", "en-GB", "Europe/Berlin", "GB", "1988-02-29", "2024-01-01T00:00:00Z", "true"]
            table.writerow(row + [topic, opening, note, link])
    with open(f"{folder}/orders.csv", "w", encoding="utf-8") as out:
        print("order_id,customer_id,ordered_at,total,currency,status,product,category", file=out)
        print("o1,c0000,2024-02-01T00:00:00Z,20.00,EUR,paid,Tea,Tea", file=out)


def clean(text):
    """On purpose: white space and control characters become one space, none at the ends; what turns the direction of the sentence round
    it (U+202A to E, U+2066 to 9) and the byte order mark are taken out."""
    out, gap = "", False
    for c in text:
        if unicodedata.category(c) == "Cc" or c in " \u2028\u2029":
            gap = True
        elif not ("\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069" or c == "\ufeff"):
            out += (" " if gap and out else "") + c
            gap = False
    return out


def fill(template, values):
    return re.sub(r"{{ (.*?) }}", lambda tag: values[tag[1]], template)


def tidy(text):
    """On purpose: no space at a line's end, at most one blank line, one line break at the end."""
    lines = "\n".join(line.rstrip() for line in text.strip().split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"


class Markup(html.parser.HTMLParser):
    """HTML as what it means: elements, attributes and words, whichever way it is written."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.seen, self.words = [], ""
        self.feed(text)
        self.close()
        self.end_words()

    def end_words(self):
        # Between elements a browser shows a line break and a space alike; NBSP and its kin are words.
        words = re.sub(r"[ \n]+", " ", self.words).strip(" ")
        self.seen += [words] if words else []
        self.words = ""

    def handle_starttag(self, tag, attributes):
        self.end_words()
        self.seen.append((tag, sorted(attributes)))

    def handle_endtag(self, tag):
        self.end_words()
        self.seen.append("/" + tag)

    def handle_data(self, data):
        self.words += data


def expected(row, templates, stop):
    values = {column: clean(value) for column, value in row.items()}
    values |= {"unsubscribe_url": stop, "brand.name": "Your Shop"}
    values["brand.postal_address|join(', ')"] = "Your Shop, Street and number, Postcode and town, Country"
    head, body = templates["email.txt"].split("\n\n", 1)
    # On purpose: a subject is one line, and what looks like an encoded word no longer does.
    subject = clean(fill(head.split("\n")[0].removeprefix("Subject:"), values)).replace("=?", "= ?")
    escaped = {name: html.escape(value) for name, value in values.items()}
    return {
        "subject": subject,
        "to": [f"{values['first_name']} {values['last_name']}", row["email"]],
        "text": tidy(fill(body, values)),
        "html": Markup(fill(templates["email.html"], escaped)).seen,
    }


def recipient(message):
    # The modern parser reads a space between two encoded words of a name until Python 3.12.9 (gh-128110); the older one never did.
    name, address = email.utils.parseaddr(re.sub(r"\r?\n", "", dict(message.raw_items())["To"]))
    return [str(email.header.make_header(email.header.decode_header(name))), address]


def received(message):
    parts = {part.get_content_type(): part.get_content().replace("\r\n", "\n") for part in message.walk() if not part.is_multipart()}
    return {
        "subject": str(message["Subject"]),
        "to": recipient(message),
        "text": parts["text/plain"],
        "html": Markup(parts["text/html"]).seen,
    }


def wrong_bytes(raw):
    if re.search(rb"\r(?!\n)|(?<!\r)\n", raw):
        yield "a bare CR or LF"
    if b"\0" in raw:
        yield "a NUL"
    longest = max(len(line) for line in raw.split(b"\r\n"))
    if longest > 998:
        yield f"a line of {longest} bytes"


def compare(project, mail):
    with open(f"{project}/data-in/customers.csv", encoding="utf-8", newline="") as file:
        people = {row["email"]: row for row in csv.DictReader(file)}
    campaign = f"{project}/jobs/campaigns/everybody"
    templates = {name: open(f"{campaign}/{name}", encoding="utf-8").read() for name in ("email.txt", "email.html")}
    wrong, ids, told = [], set(), set()
    files = sorted(os.listdir(mail))
    for file in files:
        raw = open(f"{mail}/{file}", "rb").read()
        message = email.message_from_bytes(raw, policy=email.policy.SMTP)
        said = received(message)
        address = said["to"][1]
        wrong += [[address, what] for what in wrong_bytes(raw)]
        wrong += [[address, f"defect: {defect}"] for part in message.walk() for defect in part.defects]
        stop = str(message["List-Unsubscribe"]).split(">")[0].removeprefix("<")
        for what, should in expected(people[address], templates, stop).items():
            if said[what] != should:
                wrong.append([address, what, said[what], should])
        ids.add(str(message["Message-ID"]))
        told.add(address)
    json.dump({"letters": len(files), "people": len(told), "ids": len(ids), "wrong": len(wrong), "first": wrong[:5]}, sys.stdout)


if __name__ == "__main__":
    {"write": write, "compare": compare}[sys.argv[1]](*sys.argv[2:])
