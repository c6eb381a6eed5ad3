"""Plain rows over HTTP, 1,000 a page, made as they are asked for: /rows?after=ID answers {"rows": [...], "next": ID or null}.
POST /change?way=scattered (or clustered) changes one row in a hundred; /rows?since=SECONDS then answers with those alone.
Usage: rows_api.py ROWS PORT"""
import http.server, json, socketserver, sys, time
from urllib.parse import parse_qs, urlparse

ROWS, PORT, PAGE = int(sys.argv[1]), int(sys.argv[2]), 1000
changed = {"way": None, "at": 0}


def instant(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


BEGUN = int(time.time()) - 3600


def ids(since, after):
    """The ids of one page, and whether more follow."""
    if since < BEGUN:
        end = min(after + PAGE, ROWS)
        return range(after, end), end < ROWS
    if changed["way"] is None or since > changed["at"]:
        return range(0), False
    step, first = (100, 0) if changed["way"] == "scattered" else (1, ROWS // 2)
    count = ROWS // 100
    begin = 0 if after == 0 else (after - first) // step + 1
    end = min(begin + PAGE, count)
    return range(first + begin * step, first + end * step, step), end < count


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = parse_qs(urlparse(self.path).query)
        since, after = int(asked.get("since", ["0"])[0]), int(asked.get("after", ["0"])[0])
        page, more = ids(since, after)
        fresh = since >= BEGUN
        # Only the last row is as young as the cursor of the first load, so that the next one does not read all of them again.
        at = instant(changed["at"] if fresh else BEGUN - 1)
        rows = ",".join(f'{{"id":"{i}","customer":"{i % 50000}","value":{i % 997 + fresh},"changed":"{at}"}}' for i in page)
        if not fresh and not more:
            rows = rows.replace(at, instant(BEGUN))
        last = (page[-1] if fresh else page[-1] + 1) if len(page) else None
        body = f'{{"rows":[{rows}],"next":{json.dumps(str(last)) if more else "null"}}}'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        changed.update(way=parse_qs(urlparse(self.path).query)["way"][0], at=int(time.time()))
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()
