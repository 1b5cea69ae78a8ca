"""Notes over HTTP, kept in the PostgreSQL database that DATABASE_URL names.

GET /health is for liveness, GET /ready asks the database; GET /api/notes lists, POST /api/notes adds the body.
"""

import json
import os
import re
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

# Kubernetes leaves $(NAME) as it is where NAME is defined further down in the list, as in the guide's Deployment.
DATABASE_URL = re.sub(r"\$\((\w+)\)", lambda name: os.environ[name[1]], os.environ["DATABASE_URL"])


def query(statement, *values):
    """The rows of one statement, in a transaction and a connection of its own."""
    connection = psycopg2.connect(DATABASE_URL, connect_timeout=3)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS notes (id SERIAL PRIMARY KEY, text TEXT NOT NULL)")
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Pod", socket.gethostname())
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        try:
            if self.path == "/health":
                self.answer(200, {"status": "ok"})
            elif self.path == "/ready":
                query("SELECT 1")
                self.answer(200, {"status": "ready"})
            elif self.path == "/api/notes":
                rows = query("SELECT text FROM notes ORDER BY id")
                self.answer(200, {"notes": [row[0] for row in rows], "logLevel": os.environ["LOG_LEVEL"]})
            else:
                self.answer(404, {"error": f"no such path: {self.path}"})
        except psycopg2.Error as error:
            self.answer(503, {"error": str(error).strip()})

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            ((number,),) = query("INSERT INTO notes (text) VALUES (%s) RETURNING id", text)
            self.answer(201, {"id": number})
        except psycopg2.Error as error:
            self.answer(503, {"error": str(error).strip()})


server = ThreadingHTTPServer(("", 8080), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("listening on 8080", flush=True)
server.serve_forever()
server.server_close()
sys.exit(0)
