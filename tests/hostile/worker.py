"""A process that reads hostile files: a case per line of stdin, its outcome per line of stdout.

``python -m tests.hostile.worker MEMORY_MB``; a case is the JSON of [reader, samples, seed].
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from math import inf
from pathlib import Path

from matlode.errors import MatlodeError
from tests.hostile.mutations import hostile, rng_of
from tests.hostile.readers import READERS

FILLED = 0.8
"""Of the memory that is allowed: who fills it would have filled more."""


def make(reader: str, samples: Path, seed: int, place: Path) -> tuple[Path, str]:
    """Write the case of a seed into ``place``: what to read, and which sample it was."""
    rng = rng_of(reader, seed)
    kind = READERS[reader]
    files = sorted(path for path in samples.iterdir() if path.is_file())
    targets = [path for path in files if not kind.only or path.name in kind.only]
    chosen = targets[int(rng.integers(len(targets)))]
    if kind.folder:
        for path in files:
            if path != chosen:
                shutil.copyfile(path, place / path.name)
    (place / chosen.name).write_bytes(hostile(chosen.name, chosen.read_bytes(), rng))
    return (place if kind.folder else place / chosen.name), chosen.name


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error comes from the limit, however often it was wrapped."""
    while error is not None:
        # Arrow's is one request that the system refused; nothing had been filled
        if isinstance(error, MemoryError) and type(error).__name__ != "ArrowMemoryError":
            return True
        error = error.__cause__ or error.__context__
    return False


def outcome(reader: str, path: Path) -> tuple[str, str]:
    """What reading gives: "read", "refused", or what must not be."""
    try:
        READERS[reader].read(path)
    except MatlodeError as error:
        if out_of_memory(error):
            return "memory", str(error)[:300]
        if not str(error).strip():
            return "traceback", "an error without words"
        return "refused", str(error)[:300]
    except AssertionError:
        return "wrong", traceback.format_exc()[-1500:]
    except MemoryError:
        return "memory", traceback.format_exc()[-1500:]
    except BaseException:
        return "traceback", traceback.format_exc()[-2500:]
    return "read", ""


def resident_mb(which: str) -> float:
    """Memory that this process has (VmRSS), or had at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{which}:"))


def do_case(reader: str, samples: Path, seed: int, memory_mb: float = inf) -> dict[str, object]:
    """Make and read the case of a seed; a seed below 0 is a sound file."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "case"
        place.mkdir()
        if seed < 0:
            for path in samples.iterdir():
                shutil.copyfile(path, place / path.name)
            path = place if READERS[reader].folder else sorted(place.iterdir())[-1 - seed]
            sample = path.name
        else:
            # the mutations themselves are not what is measured
            path, sample = make(reader, samples, seed, place)
        before, used_mb = time.process_time(), resident_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        kind, text = outcome(reader, path)
        seconds = time.process_time() - before
        filled_mb = resident_mb("VmHWM") - used_mb
        # who runs into the limit may have taken the error for one of the file
        if filled_mb > FILLED * memory_mb and kind in ("read", "refused"):
            kind, text = "memory", f"{filled_mb:.0f} MB; {text}"
    return {"seed": seed, "sample": sample, "kind": kind, "text": text, "cpu_s": seconds}


def limit_memory(more_mb: int) -> None:
    """To so much more than what is in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + (more_mb << 20), hard))


def main() -> None:
    memory_mb = int(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    warm = None
    for line in sys.stdin:
        reader, samples, seed = json.loads(line)
        if warm != reader:  # loads and compiles what is needed, which is not the file's fault
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            n_sound = 1 if READERS[reader].folder else len(list(Path(samples).iterdir()))
            for at in range(n_sound):
                answer = do_case(reader, Path(samples), -1 - at)
                if answer["kind"] != "read":
                    break
            limit_memory(memory_mb)
            warm = reader
        if seed >= 0:
            answer = do_case(reader, Path(samples), seed, memory_mb)
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
