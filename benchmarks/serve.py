"""How the server bears a load: `python benchmarks/serve.py [--seconds 60]` starts it, sends
pictures from 32 clients, and writes benchmarks/serve.json.

First small pictures alone, then the same with 2 % of photographs of 12 megapixels among them."""

import argparse
import http.client
import json
import random
import re
import subprocess
import sys
import threading
import time
from datetime import date
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles

import cv2
import numpy as np
import psutil
from PIL import Image

from mnist_course.data import load_mnist

HERE = Path(__file__).resolve().parent
CLIENTS, SHARE = 32, 0.02


def encoded(picture, kind: str) -> bytes:
    raw = BytesIO()
    Image.fromarray(picture).save(raw, kind)
    return raw.getvalue()


def small() -> list[bytes]:
    "A hundred validation digits as PNG files of 28 × 28."
    return [encoded(i.numpy(), 'PNG') for i in load_mnist()[0][0][-100:]]


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


def load(
    port: int,
    pictures: list[bytes],
    photograph: bytes | None,
    seconds: float,
    process: psutil.Process,
) -> dict:
    "Thirty-two clients, each asking again as soon as it has its answer."
    end, took, errors = time.perf_counter() + seconds, [], []

    def client(seed):
        rng = random.Random(seed)
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        while time.perf_counter() < end:
            body = photograph if photograph and rng.random() < SHARE else rng.choice(pictures)
            start = time.perf_counter()
            try:
                connection.request('POST', '/api/predict', body)
                reply = connection.getresponse()
                answer = reply.read()
                if reply.status != 200:
                    errors.append(answer[:200])
            except OSError as e:
                errors.append(repr(e))
                connection.close()
            took.append(time.perf_counter() - start)

    crowd = [threading.Thread(target=client, args=(k,)) for k in range(CLIENTS)]
    for c in crowd:
        c.start()
    memory = []
    while any(c.is_alive() for c in crowd):
        memory.append(process.memory_info().rss)
        time.sleep(0.5)
    warm = memory[len(memory) // 3 :]  # the first third is warming up
    first, last = median(warm[: max(1, len(warm) // 4)]), median(warm[-max(1, len(warm) // 4) :])
    return dict(
        requests=len(took),
        errors=len(errors),
        a_second=len(took) / seconds,
        median_ms=1000 * median(took),
        p99_ms=1000 * quantiles(took, n=100)[-1],
        memory_mb=last / 1e6,
        growth=last / first - 1,
    )


def rounded(counts: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in counts.items()}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--seconds', type=float, default=60)
    seconds = p.parse_args().seconds
    server = subprocess.Popen(
        [Path(sys.executable).parent / 'mnist_serve', '--port', '0', '--no-browser'],
        stdout=subprocess.PIPE,
        text=True,
        cwd=HERE,
    )
    try:
        said = server.stdout.readline() + server.stdout.readline()
        port = int(re.search(r':(\d+)/', said)[1])
        process = psutil.Process(server.pid)
        pictures = small()
        found = {
            'small pictures alone': load(port, pictures, None, seconds, process),
            'with 2 % of photographs': load(port, pictures, large(), seconds, process),
        }
    finally:
        server.terminate()
    result = {
        'date': date.today().isoformat(),
        'clients': CLIENTS,
        'seconds': seconds,
        'loads': {name: rounded(counts) for name, counts in found.items()},
    }
    (HERE / 'serve.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
