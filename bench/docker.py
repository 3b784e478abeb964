"""`docker run --rm … true`, twenty of them at once, and `docker exec`, beside Docker Engine and Podman on the same image. Needs root.

    python -m bench.docker [--rounds 20] [--only-gureum]

Each figure is the command's time less that of the same program with `--version`, run just before it, so what remains is from the API call to its end;
Podman has no API call: its own start is netted out alike. Engines take turns within a round. The busybox image is made from this machine's own.
Both are taken from the PATH, or from where `GUREUM_BENCH_PEERS` says that they were unpacked: `bench/engines.py` tells how.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.clouds import Gureum
from bench.engines import IMAGE, Engine, docker, environment_with_peers, imported, podman

MANY = 20
EXEC_NAME = "bench-exec"


@contextlib.contextmanager
def gureum() -> Iterator[Engine]:
    """A gureum of its own, driven by the stock docker command line."""
    cloud = Gureum()
    cloud.start()
    try:
        socket = str(json.loads(cloud.command("env", "--json"))["DOCKER_HOST"])
        engine = Engine("gureum", ("docker", "-H", socket), (), environment_with_peers())
        with tempfile.TemporaryDirectory() as folder:
            yield imported(engine, Path(folder))
    finally:
        cloud.remove()


def _run(engine: Engine, *words: str) -> float:
    begin = time.perf_counter()
    subprocess.run([*engine.command, *words], env=engine.environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def run_true(engine: Engine) -> float:
    return _run(engine, "run", "--rm", *engine.options, IMAGE, "true")


def run_many(engine: Engine) -> float:
    begin = time.perf_counter()
    command = [*engine.command, "run", "--rm", *engine.options, IMAGE, "true"]
    running = [subprocess.Popen(command, env=engine.environment, stdout=subprocess.DEVNULL) for _ in range(MANY)]
    codes = [one.wait() for one in running]
    if any(codes):
        raise RuntimeError(f"{engine.name}: some of {MANY} runs failed: {codes}")
    return time.perf_counter() - begin


def exec_true(engine: Engine) -> float:
    return _run(engine, "exec", EXEC_NAME, "true")


ROWS: tuple[tuple[str, Callable[[Engine], float], int], ...] = (
    ("first output of run --rm", Engine.first_output, 1),
    ("run --rm true", run_true, 1),
    (f"{MANY} x run --rm true, at once", run_many, MANY),
    ("exec true", exec_true, 1),
)


def measure(engines: list[Engine], rounds: int) -> None:
    for one in engines:
        _run(one, "run", "-d", "--name", EXEC_NAME, *one.options, IMAGE, "sleep", "1000")
    print(f"{'':34}" + "".join(f"{one.name:>24}" for one in engines))
    for title, work, count in ROWS:
        times: dict[str, list[float]] = {one.name: [] for one in engines}
        for number in range(rounds if count == 1 else max(3, rounds // 5)):
            turn = number % len(engines)  # what one leaves to be done falls to the next
            for one in engines[turn:] + engines[:turn]:
                idle = one.idle()
                times[one.name].append(work(one) - idle)
        first = statistics.median(times[engines[0].name])
        cells = []
        for one in engines:
            middle = statistics.median(times[one.name])
            cells.append(f"{middle * 1000:10.0f} ms ({middle / first:4.1f} x)")
        print(f"{title:34}" + "".join(f"{cell:>24}" for cell in cells))
    for one in engines:
        _run(one, "rm", "-f", EXEC_NAME)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only-gureum", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        engines = [
            stack.enter_context(make()) for make in ((gureum,) if arguments.only_gureum else (gureum, docker, podman))
        ]
        for one in engines:
            if not one.usable:
                print(f"{one.name}: {one.why}")
        measure([one for one in engines if one.usable], arguments.rounds)


if __name__ == "__main__":
    main()
