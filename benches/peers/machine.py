"""What a record was made on: the machine, and the state of the program. Needs no package."""

import os
import platform
import subprocess
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
# (maker, family, model or None for all): what the name of a virtual machine's processor does not tell.
MICROARCHITECTURES = {
    ("AuthenticAMD", 25, 1): "Zen 3",
    ("AuthenticAMD", 25, 17): "Zen 4",
    ("AuthenticAMD", 26, None): "Zen 5",
    ("GenuineIntel", 6, 106): "Ice Lake",
    ("GenuineIntel", 6, 143): "Sapphire Rapids",
    ("GenuineIntel", 6, 207): "Emerald Rapids",
}


def machine():
    """The processor, as far as the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().split("\n\n")[0].splitlines() if file.exists() else []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    number = lambda key: int(told[key]) if told.get(key, "").isdigit() else None
    maker, family, model = told.get("vendor_id"), number("cpu family"), number("model")
    known = (MICROARCHITECTURES.get((maker, family, which)) for which in (model, None))
    flags = told.get("flags", "").split()
    return {
        "cpu": told.get("model name") or platform.processor(),
        "microarchitecture": next(filter(None, known), None),
        "family": family,
        "model": model,
        "stepping": number("stepping"),
        "cores": CORES,
        "caches": caches(),
        "units": [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if unit in flags],
        "python": platform.python_version(),
    }


def caches():
    """Of the first core, as in {"L1 data": "32K", …}."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    found = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / part).read_text().strip() for part in ("level", "type", "size"))
        found[f"L{level}" if kind == "Unified" else f"L{level} {kind.lower()}"] = size
    return found


def commit(root, record=None):
    """What the program was built from: `-dirty` where files differ from it, other than the record to be written."""
    git = lambda *words: subprocess.run(["git", *words], cwd=root, stdout=subprocess.PIPE, text=True)
    inside = record is not None and record.resolve().is_relative_to(root)
    others = [f":(exclude){record.resolve().relative_to(root)}"] if inside else []
    described = git("describe", "--always").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", ".", *others).returncode
    return f"{described or 'unknown'}{'-dirty' if changed else ''}"
