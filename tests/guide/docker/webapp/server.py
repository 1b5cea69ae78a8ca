"""A web application that says whether its database answers, by the address in DATABASE_URL."""

import os
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


def ask_database() -> str:
    address = urlsplit(os.environ["DATABASE_URL"])
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection((address.hostname, address.port), 5) as connection:
                connection.sendall(struct.pack("!II", 8, 80877103))  # PostgreSQL's SSLRequest
                return connection.recv(1).decode()
        except OSError as error:
            if time.monotonic() > deadline:
                return str(error)
            time.sleep(0.1)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = f"database at {urlsplit(os.environ['DATABASE_URL']).hostname} answers {ask_database()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


print("webapp listens on 8080")
HTTPServer(("", 8080), Handler).serve_forever()
