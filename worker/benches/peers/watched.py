"""Runs a command on chosen cores, looks at its memory from outside, and ends it where it takes too much of anything."""

import os
import pathlib
import shutil
import subprocess
import time

import psutil

BETWEEN_LOOKS_SECS = 0.02


def run(command, log: pathlib.Path, cores: list[int], limit_bytes: float, limit_secs: float):
    """(standard output, peak bytes of the largest process, why it failed or None)."""
    if shutil.which("taskset"):
        command = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
    threads = str(len(cores))
    env = os.environ | {
        "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(log.parent / "hf"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    out = log.with_suffix(".out")
    with log.open("wb") as errors, out.open("wb") as output:
        child = psutil.Popen([str(word) for word in command], env=env, stdout=output, stderr=errors)
        try:
            peak, failure = watch(child, limit_bytes, limit_secs)
        finally:
            end(child)
    if failure is None and child.returncode != 0:
        failure = f"exit code {child.returncode}: {last_line(log)}"
    return out.read_text(), peak, failure


def watch(child: psutil.Popen, limit_bytes: float, limit_secs: float):
    began, peak = time.monotonic(), 0
    while child.poll() is None:
        peak = max(peak, *[resident_bytes(process) for process in family(child)], 0)
        if peak > limit_bytes:
            return peak, f"exceeds {limit_bytes / 2**30:.1f} GiB"
        if time.monotonic() - began > limit_secs:
            return peak, f"stopped after {limit_secs:.0f} s"
        time.sleep(BETWEEN_LOOKS_SECS)
    return peak, None


def end(child: psutil.Popen):
    """Ends what is left of it: torchrun's workers are in sessions of their own."""
    left = family(child) if child.poll() is None else []
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    child.wait()


def family(child: psutil.Process) -> list[psutil.Process]:
    try:
        return [child, *child.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def last_line(log: pathlib.Path) -> str:
    """The line that says why: of torchrun's report the worker's error."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error:" in line and "ChildFailedError" not in line]
    return (errors or lines or ["nothing was said"])[-1][:300]
