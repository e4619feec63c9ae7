"""An S3 server for the tests: moto's, on a free port, which it prints.

Its buckets live in memory and end with the process. Writes are taken one at a time, because moto looks
whether an object exists and puts it in two steps: `If-None-Match: *` would not exclude the other of two writers.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class Quiet(MotoRequestHandler):
    def log(self, type, message, *args):
        if type == "error":
            super().log(type, message, *args)


class OneWriteAtATime:
    def __init__(self, app):
        self.app = app
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self.app(environ, start_response)
        with self.lock:
            return self.app(environ, start_response)


def main():
    app = OneWriteAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    # Whoever started the server holds the other end of its standard input: at its end nobody needs it any more.
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
