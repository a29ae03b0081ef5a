"""A server of Google Cloud Storage's JSON API, with its objects in memory.

Three clients speak to it in the tests, each as it speaks to Google: gcsfs
(behind etils.epath), TensorStore (behind Orbax) and google-cloud-storage.
`serve()` runs it in a thread; `python tests/gcs_server.py PORT` by itself.
Reference: https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import contextlib
import dataclasses
import email.parser
import email.policy
import hashlib
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

import google_crc32c

_OBJECT = re.compile(r'(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)')
_OBJECTS = re.compile(r'/storage/v1/b/([^/]+)/o')
_BUCKET = re.compile(r'/storage/v1/b/([^/]+)')
_UPLOAD = re.compile(r'/(?:resumable/)?upload/storage/v1/b/([^/]+)/o')
_COPY = re.compile(_OBJECT.pattern + r'/(rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)')
_PAGE = 50  # so that tests see several pages


@dataclasses.dataclass(frozen=True)
class Stored:
  """One generation of an object."""

  content: bytes
  generation: int
  facts: dict[str, Any]


class Refused(Exception):
  """An answer that is an error."""

  def __init__(self, status: int, reason: str):
    super().__init__(reason)
    self.status = status


class Server(http.server.ThreadingHTTPServer):
  """The server, and what tests may ask of it.

  objects: {(bucket, name): Stored}.
  requests: 'METHOD path' of all requests so far.
  failing: called with 'METHOD path'; a status to refuse the request by, or 0.
  """

  daemon_threads = True
  request_queue_size = 128

  def __init__(self, port: int = 0):
    super().__init__(('127.0.0.1', port), _Handler)
    self.objects: dict[tuple[str, str], Stored] = {}
    self.requests: list[str] = []
    self.failing = lambda request: 0
    self.mutex = threading.RLock()
    self.uploads: dict[str, tuple[str, dict[str, str], bytearray]] = {}
    self.numbers = itertools.count(1)

  def clear(self) -> None:
    """Forgets all objects and what a test has asked of it."""
    self.objects.clear()
    self.requests.clear()
    self.failing = lambda request: 0

  @property
  def url(self) -> str:
    return f'http://127.0.0.1:{self.server_address[1]}'

  def environment(self) -> dict[str, str]:
    """Variables by which the three clients find it."""
    return {
      'STORAGE_EMULATOR_HOST': self.url,
      'TENSORSTORE_GCS_HTTP_URL': self.url,
      'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'a token',
      'FSSPEC_GCS_TOKEN': 'anon',
      # gcsfs asks for a bucket's kind by gRPC, which this server lacks.
      'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
    }

  def names(self, bucket: str, prefix: str = '') -> list[str]:
    with self.mutex:
      return sorted(
        name
        for where, name in self.objects
        if where == bucket and name.startswith(prefix)
      )

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Says nothing of a client that has left; the rest is an error here."""
    if not isinstance(sys.exc_info()[1], ConnectionError):
      super().handle_error(request, client_address)

  def find(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
    """The object; Refused where it is missing or a precondition fails."""
    stored = self.objects.get((bucket, name))
    self.require(stored, query)
    wanted = query.get('generation')
    if stored is None or wanted and int(wanted) != stored.generation:
      raise Refused(404, f'No such object: {bucket}/{name}')
    return stored

  def require(self, stored: Stored | None, query: dict[str, str]) -> None:
    generation = stored.generation if stored else 0
    match = query.get('ifGenerationMatch')
    if match is not None and int(match) != generation:
      raise Refused(412, 'conditionNotMet')
    differs = query.get('ifGenerationNotMatch')
    if differs is not None and int(differs) == generation:
      raise Refused(304 if stored else 412, 'conditionNotMet')

  def store(
    self, bucket: str, query: dict[str, str], content: bytes
  ) -> dict[str, Any]:
    """Writes a whole object; returns its resource."""
    name = query['name']
    with self.mutex:
      self.require(self.objects.get((bucket, name)), query)
      generation = next(self.numbers)
      checksum = google_crc32c.value(content).to_bytes(4, 'big')
      md5 = hashlib.md5(content).digest()
      facts = {
        'kind': 'storage#object',
        'id': f'{bucket}/{name}/{generation}',
        'bucket': bucket,
        'name': name,
        'size': str(len(content)),
        'generation': str(generation),
        'metageneration': '1',
        'etag': str(generation),
        'contentType': 'application/octet-stream',
        'storageClass': 'STANDARD',
        'timeCreated': '2026-01-01T00:00:00.000Z',
        'updated': '2026-01-01T00:00:00.000Z',
        'crc32c': base64.b64encode(checksum).decode(),
        'md5Hash': base64.b64encode(md5).decode(),
      }
      self.objects[bucket, name] = Stored(content, generation, facts)
    return facts

  def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
    with self.mutex:
      self.find(bucket, name, query)
      del self.objects[bucket, name]

  def listing(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
    """One page of a listing, of objects and of what stands for folders."""
    prefix, delimiter = query.get('prefix', ''), query.get('delimiter', '')
    start = query.get('pageToken') or query.get('startOffset', '')
    end = query.get('endOffset', '')
    size = min(int(query.get('maxResults') or _PAGE), _PAGE)
    items: list[dict[str, Any]] = []
    prefixes: list[str] = []
    page: dict[str, Any] = {'kind': 'storage#objects'}
    with self.mutex:
      for name in self.names(bucket, prefix):
        if name < start or end and name >= end:
          continue
        folder = ''
        if delimiter and (at := name.find(delimiter, len(prefix))) >= 0:
          folder = name[: at + len(delimiter)]
        if folder and folder in prefixes:
          continue
        if len(items) + len(prefixes) == size:
          page['nextPageToken'] = name
          break
        if folder:
          prefixes.append(folder)
        else:
          items.append(self.objects[bucket, name].facts)
    return page | {'items': items, 'prefixes': prefixes}


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers one connection."""

  server: Server
  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True

  def log_message(self, format: str, *args: Any) -> None:
    pass

  def do_GET(self) -> None:
    self._answer()

  def do_POST(self) -> None:
    self._answer()

  def do_PUT(self) -> None:
    self._answer()

  def do_DELETE(self) -> None:
    self._answer()

  def _answer(self) -> None:
    body = self._body()
    request = f'{self.command} {self.path}'
    self.server.requests.append(request)
    if status := self.server.failing(request):
      self._send(status, b'{"error": {"message": "the test says so"}}')
      return
    try:
      self._send(*self._result(self.command, self.path, body))
    except Refused as error:
      text = {'error': {'code': error.status, 'message': str(error)}}
      empty = error.status == 304
      self._send(error.status, b'' if empty else json.dumps(text).encode())

  def _body(self) -> bytes:
    if self.headers.get('Transfer-Encoding', '') != 'chunked':
      return self.rfile.read(int(self.headers.get('Content-Length') or 0))
    parts = []
    while size := int(self.rfile.readline(), 16):
      parts.append(self.rfile.read(size))
      self.rfile.readline()
    self.rfile.readline()
    return b''.join(parts)

  def _send(
    self, status: int, content: bytes, headers: dict[str, str] | None = None
  ) -> None:
    self.send_response(status)
    for name, value in (headers or {}).items():
      self.send_header(name, value)
    if status not in (204, 304):
      self.send_header('Content-Length', str(len(content)))
    self.end_headers()
    self.wfile.write(content)

  def _result(
    self, method: str, target: str, body: bytes
  ) -> tuple[int, bytes, dict[str, str]]:
    """The status, content and headers of a request, also of one in a batch."""
    path, _, text = target.partition('?')
    query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
    if path == '/batch/storage/v1':
      return self._batch(body)
    if path.startswith('/session/'):
      return self._resume(path, body)
    if found := _UPLOAD.fullmatch(path):
      return self._upload(found[1], query, body)
    if found := _COPY.fullmatch(path):
      return self._copy(found, query)
    unquote = urllib.parse.unquote
    if found := _OBJECT.fullmatch(path):
      bucket, name = found[1], unquote(found[2])
      if method == 'DELETE':
        self.server.delete(bucket, name, query)
        return 204, b'', {}
      stored = self.server.find(bucket, name, query)
      if query.get('alt') == 'media' or path.startswith('/download'):
        return self._media(stored)
      return _json(stored.facts)
    if found := _OBJECTS.fullmatch(path):
      return _json(self.server.listing(found[1], query))
    if found := _BUCKET.fullmatch(path):
      return _json({'kind': 'storage#bucket', 'name': found[1]})
    raise Refused(501, f'{method} {target} is not known to this server')

  def _media(self, stored: Stored) -> tuple[int, bytes, dict[str, str]]:
    content, status = stored.content, 200
    headers = {
      'X-Goog-Generation': str(stored.generation),
      'X-Goog-Hash': f'crc32c={stored.facts["crc32c"]}',
      'X-Goog-Stored-Content-Length': str(len(content)),
      'ETag': str(stored.generation),
    }
    wanted = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
    if wanted:
      start, total = int(wanted[1]), len(content)
      if start >= total:
        raise Refused(416, 'the range is not within the object')
      end = min(int(wanted[2] or total) + 1, total)
      content, status = content[start:end], 206
      headers['Content-Range'] = f'bytes {start}-{end - 1}/{total}'
    return status, content, headers

  def _upload(
    self, bucket: str, query: dict[str, str], body: bytes
  ) -> tuple[int, bytes, dict[str, str]]:
    kind = query.get('uploadType')
    if kind == 'media':
      return _json(self.server.store(bucket, query, body))
    if kind == 'multipart':
      described, content = _parts(self.headers['Content-Type'], body)
      query = query | {'name': json.loads(described)['name']}
      return _json(self.server.store(bucket, query, content))
    query = json.loads(body or b'{}') | query
    key = f'/session/{next(self.server.numbers)}'
    self.server.uploads[key] = (bucket, query, bytearray())
    return 200, b'', {'Location': self.server.url + key}

  def _resume(self, key: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    if key not in self.server.uploads:
      raise Refused(404, 'there is no such upload')
    bucket, query, so_far = self.server.uploads[key]
    so_far += body
    if self.headers['Content-Range'].endswith('/*'):
      return 308, b'', {'Range': f'bytes=0-{len(so_far) - 1}'}
    return _json(self.server.store(bucket, query, bytes(so_far)))

  def _copy(
    self, found: re.Match[str], query: dict[str, str]
  ) -> tuple[int, bytes, dict[str, str]]:
    source, name, kind, bucket, target = map(
      urllib.parse.unquote, found.groups()
    )
    content = self.server.find(source, name, {}).content
    facts = self.server.store(bucket, query | {'name': target}, content)
    if kind == 'copyTo':
      return _json(facts)
    return _json(
      {
        'kind': 'storage#rewriteResponse',
        'done': True,
        'objectSize': facts['size'],
        'totalBytesRewritten': facts['size'],
        'resource': facts,
      }
    )

  def _batch(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    answers = []
    for part in _parts(self.headers['Content-Type'], body):
      line, _, rest = part.partition(b'\r\n')
      method, target, *_ = line.decode().split(' ')
      try:
        status, content, _ = self._result(method, target, rest)
      except Refused as error:
        status, content = error.status, str(error).encode()
      answers.append(
        b'--batch\r\nContent-Type: application/http\r\n\r\n'
        + f'HTTP/1.1 {status} said\r\nContent-Length: {len(content)}\r\n'
        f'\r\n'.encode()
        + content
        + b'\r\n'
      )
    kind = {'Content-Type': 'multipart/mixed; boundary=batch'}
    return 200, b''.join(answers) + b'--batch--', kind


def _json(value: Any) -> tuple[int, bytes, dict[str, str]]:
  return 200, json.dumps(value).encode(), {'Content-Type': 'application/json'}


def _parts(kind: str, body: bytes) -> list[bytes]:
  """The contents of a multipart body."""
  header = email.parser.HeaderParser(policy=email.policy.HTTP).parsestr(
    f'Content-Type: {kind}\r\n\r\n'
  )
  boundary = b'--' + header.get_param('boundary').encode()
  # The first piece comes before the parts, the last one is the end's `--`.
  pieces = (b'\r\n' + body.lstrip(b'\r\n')).split(b'\r\n' + boundary)[1:-1]
  return [piece.partition(b'\r\n\r\n')[2] for piece in pieces]


@contextlib.contextmanager
def serve() -> Iterator[Server]:
  """A server in a thread of this process."""
  server = Server()
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()


if __name__ == '__main__':
  Server(int(sys.argv[1])).serve_forever()
