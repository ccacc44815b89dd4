"""How the server bears a load: `python benchmarks/serve.py [--seconds 60]` sends images from 32
clients, and writes benchmarks/serve.json.

First small images alone, then twenty of them in each request, then small images with 2 % of photos
of 12 megapixels among them, then the photos in test_images. Each load goes to `mnist_serve`, which
is one process with a worker for each core, and, in turn with it, to two processes that share a
socket and the cores."""

import argparse
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles

import cv2
import numpy as np
import psutil
import torch
import waitress
from PIL import Image

from mnist_course.data import load_mnist
from mnist_course.serve import create_app

HERE = Path(__file__).resolve().parent
CLIENTS, SHARE, ROUNDS = 32, 0.02, 9


def encoded(picture, kind: str) -> bytes:
    raw = BytesIO()
    Image.fromarray(picture).save(raw, kind)
    return raw.getvalue()


def small() -> list[bytes]:
    "A hundred validation digits as PNG files of 28 × 28."
    return [encoded(i.numpy(), 'PNG') for i in load_mnist()[0][0][-100:]]


def photographs() -> list[bytes]:
    "The course's own photos of handwritten digits, of about a quarter of a megapixel."
    files = sorted((HERE.parent / 'test_images').glob('*.jpg'))
    return [f.read_bytes() for f in files if f.stat().st_size < 60_000]


def twenty(images: list[bytes]) -> list[bytes]:
    "Requests with twenty images each, as JSON."
    urls = [f'data:image/png;base64,{b64encode(image).decode()}' for image in images]
    return [json.dumps({'images': urls[k : k + 20]}).encode() for k in range(0, len(urls), 20)]


def large() -> bytes:
    "A digit on paper as a JPEG of 12 megapixels, with the grain of a camera."
    digit = cv2.resize(
        load_mnist()[0][0][-1].numpy(), (3_000, 3_000), interpolation=cv2.INTER_CUBIC
    )
    page = np.full((3_000, 4_000), 235, np.float32)
    page[:, 500:3_500] -= 0.8 * digit
    return encoded(
        (page + np.random.default_rng(0).normal(0, 4, page.shape)).clip(0, 255).astype(np.uint8),
        'JPEG',
    )


def two_processes() -> None:
    "Serve from two processes with half of the workers each. Prints where; ends when it is killed."
    cores = os.cpu_count() or 2
    os.cpu_count = lambda: cores // 2  # each has a queue of its own
    torch.set_num_threads(1)
    listening = socket.create_server(('127.0.0.1', 0), backlog=1024)
    app = create_app()
    print(f'http://127.0.0.1:{listening.getsockname()[1]}/', flush=True)
    os.fork()
    limits = dict(threads=48, connection_limit=500, channel_timeout=20, asyncore_use_poll=True)
    waitress.create_server(app, sockets=[listening], ident=None, **limits).run()


def started(*command: str) -> tuple[subprocess.Popen, int]:
    "A server and its port, as soon as it says where it listens."
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE)
    for line in server.stdout:
        if where := re.search(r':(\d+)/', line):
            return server, int(where[1])
    raise RuntimeError(f'{command[0]} ended with status {server.wait()} and did not listen')


def family(server: subprocess.Popen) -> list[psutil.Process]:
    "The processes of a server."
    first = psutil.Process(server.pid)
    return [first, *first.children()]


def memory_of(processes: list[psutil.Process]) -> float:
    "In bytes; what several processes share is counted once."
    if len(processes) == 1:
        return processes[0].memory_info().rss
    shares = [p.memory_full_info() for p in processes]
    private = sum(m.uss for m in shares)
    return private + max(m.rss - m.uss for m in shares)


@dataclass
class Load:
    "What 32 clients have seen in some seconds."

    seconds: float
    took: list[float] = field(default_factory=list)  # seconds of each request
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # bytes, twice a second

    def put(self, port: int, images: list[bytes], photograph: bytes | None, seed: int) -> None:
        "Ask until the time is over."
        rng = random.Random(seed)
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            body = photograph if photograph and rng.random() < SHARE else rng.choice(images)
            start = time.perf_counter()
            try:
                kind = 'application/json' if body[:1] == b'{' else 'application/octet-stream'
                connection.request('POST', '/api/predict', body, {'Content-Type': kind})
                reply = connection.getresponse()
                answer = reply.read()
                if reply.status != 200:
                    self.errors.append(answer[:200])
            except OSError as e:
                self.errors.append(repr(e))
                connection.close()
            self.took.append(time.perf_counter() - start)
        connection.close()

    def a_second(self) -> float:
        return len(self.took) / self.seconds


def measure(
    server: subprocess.Popen,
    port: int,
    images: list[bytes],
    photograph: bytes | None,
    seconds: float,
) -> Load:
    "Thirty-two clients, each asking again as soon as it has its answer."
    load, processes = Load(seconds), family(server)
    crowd = [
        threading.Thread(target=load.put, args=(port, images, photograph, k))
        for k in range(CLIENTS)
    ]
    for c in crowd:
        c.start()
    while any(c.is_alive() for c in crowd):
        load.memory.append(memory_of(processes))
        time.sleep(0.5)
    return load


def counts(loads: list[Load]) -> dict[str, float]:
    "The loads of one server together."
    took = [seconds for load in loads for seconds in load.took]
    memory = [size for load in loads for size in load.memory]
    warm = memory[len(memory) // 3 :]  # the first third is warming up
    first, last = median(warm[: max(1, len(warm) // 4)]), median(warm[-max(1, len(warm) // 4) :])
    return dict(
        requests=len(took),
        errors=sum(len(load.errors) for load in loads),
        a_second=len(took) / sum(load.seconds for load in loads),
        median_ms=1000 * median(took),
        p99_ms=1000 * quantiles(took, n=100)[-1],
        memory_mb=last / 1e6,
        growth=last / first - 1,
    )


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in numbers.items()}


def in_turn(
    servers: dict, images: list[bytes], photograph: bytes | None, seconds: float
) -> tuple[dict, float]:
    "The counts of each server, and how much faster the second is: the median of the rounds."
    loads = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, (server, port) in servers.items():
            loads[name].append(measure(server, port, images, photograph, seconds / ROUNDS))
    one, two = loads.values()
    ratio = median(b.a_second() / a.a_second() for a, b in zip(one, two))
    return {name: rounded(counts(of_one)) for name, of_one in loads.items()}, round(ratio, 3)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--seconds', type=float, default=60, help='for each load and each server')
    p.add_argument('--two-processes', action='store_true', help='only serve')
    args = p.parse_args()
    if args.two_processes:
        return two_processes()
    command = str(Path(sys.executable).parent / 'mnist_serve')
    servers = {
        'one process': started(command, '--port', '0', '--no-browser'),
        'two processes': started(sys.executable, __file__, '--two-processes'),
    }
    try:
        found = {
            'small images alone': in_turn(servers, small(), None, args.seconds),
            'twenty small images in a request': in_turn(
                servers, twenty(small()), None, args.seconds
            ),
            'with 2 % of large photos': in_turn(servers, small(), large(), args.seconds),
            'photos alone': in_turn(servers, photographs(), None, args.seconds),
        }
    finally:
        for server, _ in servers.values():
            for process in family(server):
                process.terminate()
    result = {
        'date': date.today().isoformat(),
        'clients': CLIENTS,
        'seconds': args.seconds,
        'loads': {name: each['one process'] for name, (each, _) in found.items()},
        'two_processes': {name: each['two processes'] for name, (each, _) in found.items()},
        'ratios': {name: ratio for name, (_, ratio) in found.items()},
    }
    (HERE / 'serve.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
