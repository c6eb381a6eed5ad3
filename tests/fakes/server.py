"""What the fakes of remote APIs share: a small HTTP server, its limits and faults, and a way for a test to act as the source's users.

Each fake keeps the rules of one API, by its public documentation: page caps, filters, limits, errors, what is shown late and how
deletions are seen. Run one by hand and point a source at it:

    python3 tests/fakes/shopify.py --port 8801 --customers 1000

It prints its address, then the settings that lead a project there (what to replace in the source's file, and which variables to set).
A test acts through `POST /_control/<action>` with a JSON body:

    settings  {}                      -> {"replace": {text: text}, "env": {name: value}}
    truth     {}                      -> what the canonical tables should hold now, {table: {id: {column: value}}}
    insert, update, delete  {"count": n}  -> {"ids": [...]}: somebody works in the system; which rows, the seed decides
    throttle  {"requests": n}         -> the next n requests meet the API's own answer to too many
    expire    {}                      -> access tokens given out so far are no longer known
    fault     {"kind": "500" | "cut" | "html", "requests": n}
    schema    {"change": "new_field" | "new_type"}   -> rows have one more field; or a field of the first stream is of another type
    stats     {}                      -> {"requests": n, "throttled": n, "refused": n}
"""

import argparse
import json
import random
import re
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def now():
    return datetime.now(timezone.utc)


def iso(at, micros=False):
    """`2026-05-01T10:00:00Z`, as most APIs write it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{at.microsecond // 1000:03d}Z" if micros else "Z")


def instant(text):
    """The instant an ISO 8601 text names; the API's own error where it is none."""
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Answer(400, {"error": f"not a date: {text}"}) from None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


class Answer(Exception):
    """An answer, also one raised from deep inside."""

    def __init__(self, status, body, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Request:
    def __init__(self, method, target, headers, body):
        parts = urlsplit(target)
        self.method, self.path, self.headers, self.body = method, parts.path, headers, body
        self.params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.lists = parse_qs(parts.query, keep_blank_values=True)

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise Answer(400, {"error": "the body is no JSON"}) from None

    def form(self):
        return {name: values[-1] for name, values in parse_qs(self.body.decode()).items()}

    def number(self, name, default, most=None):
        text = self.params.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"\d+", text):
            raise Answer(400, {"error": f"{name} is not a number"})
        return min(int(text), most) if most else int(text)


class Bucket:
    """A leaky bucket: `size` at once, `rate` a second run out."""

    def __init__(self, size, rate):
        self.size, self.rate, self.level, self.at = size, rate, 0.0, now()

    def pour(self, amount=1.0):
        """Whether there is room for it; the level and how long until there is."""
        at = now()
        self.level = max(0.0, self.level - (at - self.at).total_seconds() * self.rate)
        self.at = at
        if self.level + amount > self.size:
            return False, (self.level + amount - self.size) / self.rate
        self.level += amount
        return True, 0.0


class Api:
    """One remote system. A fake gives `routes`, `settings`, `truth`, `act` and its own answers to too many requests and unknown tokens."""

    #: (method, regular expression of the whole path, name of the method that answers)
    routes = []
    #: how many customers there are at first, unless asked for more
    customers = 300
    #: how many seconds changes take to show, where the API shows them late
    lag = 0.0

    def __init__(self, arguments):
        self.arguments, self.dice = arguments, random.Random(arguments.seed)
        self.lock = threading.RLock()
        self.address = ""
        self.throttle, self.faults = 0, []
        self.counts = {"requests": 0, "throttled": 0, "refused": 0}
        self.change = None

    # What a fake overrides.

    @staticmethod
    def options(parser):
        """Arguments of its own."""

    def settings(self):
        raise NotImplementedError

    def truth(self):
        raise NotImplementedError

    def act(self, action, count):
        """`insert`, `update` or `delete`: returns the ids."""
        raise NotImplementedError

    def too_many(self):
        return Answer(429, {"error": "too many requests"}, {"Retry-After": "1"})

    def expire(self):
        """Access tokens given out so far are no longer known."""

    def before(self, request):
        """Limits and authorisation, before a route is looked for; raises an `Answer` where it refuses."""

    # The rest is the same for all.

    def answer(self, request):
        if request.path.startswith("/_control/"):
            return self.control(request)
        with self.lock:
            self.counts["requests"] += 1
            if self.faults:
                return self.fault()
            if self.throttle:
                self.throttle -= 1
                self.counts["throttled"] += 1
                return self.too_many()
            try:
                self.before(request)
                for method, pattern, name in self.routes:
                    found = re.fullmatch(pattern, request.path)
                    if found and method == request.method:
                        return getattr(self, name)(request, *found.groups())
                raise Answer(404, {"error": f"no such address: {request.path}"})
            except Answer as answer:
                if answer.status == 429:
                    self.counts["throttled"] += 1
                elif answer.status >= 400:
                    self.counts["refused"] += 1
                return answer

    def fault(self):
        kind = self.faults.pop(0)
        if kind == "html":
            return Answer(200, "<html><body>We will be right back.</body></html>", {"Content-Type": "text/html"})
        if kind == "cut":
            return Answer(200, '{"data": [{"id": 1, "na', {"Content-Type": "application/json"})
        return Answer(int(kind), {"error": "the server has trouble"})

    def control(self, request):
        action, body = request.path.rsplit("/", 1)[1], json.loads(request.body or b"{}")
        with self.lock:
            if action == "settings":
                return Answer(200, self.settings())
            if action == "truth":
                return Answer(200, self.truth())
            if action in ("insert", "update", "delete"):
                return Answer(200, {"ids": [str(id) for id in self.act(action, body.get("count", 1))]})
            if action == "throttle":
                self.throttle += body.get("requests", 1)
            elif action == "expire":
                self.expire()
            elif action == "fault":
                self.faults += [body["kind"]] * body.get("requests", 1)
            elif action == "schema":
                self.change = body["change"]
            elif action != "stats":
                return Answer(404, {"error": f"no such action: {action}"})
            return Answer(200, dict(self.counts))


def serve(api_class):
    """Runs a fake until its process ends."""
    parser = argparse.ArgumentParser(description=sys.modules[api_class.__module__].__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--customers", type=int, default=api_class.customers)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--lag", type=float, default=api_class.lag, help="seconds until changes show, where the API shows them late")
    parser.add_argument("--verbose", action="store_true", help="each request on standard error")
    api_class.options(parser)
    arguments = parser.parse_args()
    api = api_class(arguments)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            size = int(self.headers.get("Content-Length") or 0)
            request = Request(self.command, self.path, self.headers, self.rfile.read(size))
            answer = api.answer(request)
            body = answer.body if isinstance(answer.body, (str, bytes)) else json.dumps(answer.body)
            body = body.encode() if isinstance(body, str) else body
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def log_message(self, format, *args):
            if arguments.verbose:
                print(f"{api_class.__name__}: {format % args}", file=sys.stderr, flush=True)

    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    server.daemon_threads = True
    api.address = f"http://127.0.0.1:{server.server_address[1]}"
    print(api.address, flush=True)
    print(json.dumps(api.settings(), indent=2), flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


FIRST = ["Amélie", "Jürgen", "Siobhán", "美咲", "Łukasz", "Zoë", "Noor", "Ivan", "Ana", "Olu", "Mary-Ann", "João", "Ingrid", "דנה", "Per"]
LAST = ["O'Brien", "Müller", "Nowak", "佐藤", "Sørensen", "García", "Okafor", "de Vries", "Smith", "Łoś", "Petrov", "Ödman", "כהן", "Ng"]
PRODUCTS = [
    ("Oak chair", "Furniture", "129.00"), ("Linen shirt", "Clothing", "59.00"), ("Wool blanket", "Home", "89.50"),
    ("Pear tree", "Garden", "34.90"), ("Clay pot", "Garden", "12.00"), ("Ink, black", "Paper", "7.95"), ("Notebook", "Paper", "9.50"),
]


def person(dice, number):
    """A made-up customer: names of many scripts, an address nobody has."""
    first, last = dice.choice(FIRST), dice.choice(LAST)
    return {
        "number": number,
        "first_name": None if dice.random() < 0.04 else first,
        "last_name": last,
        "email": f"customer{number}@example.com",
        "country": dice.choice(["DE", "GB", "FR", "US", "NL"]),
        "created": now() - timedelta(days=dice.randint(60, 900), seconds=dice.randint(0, 80000)),
    }
