"""Names the places in what STAND_IN_COUNTS wrote with STAND_IN_PLACES=1: places.py PROGRAM FILE...

PROGRAM is the one that was counted, which must have its symbols. Each line: kind, number, operator, the functions of the
program that were on the stack, innermost first.
"""
import bisect
import collections
import re
import subprocess
import sys


def symbols_of(program):
    found = []
    for line in subprocess.run(["nm", "-C", program], capture_output=True, text=True, check=True).stdout.splitlines():
        parts = line.split(" ", 2)
        if len(parts) == 3 and parts[0] and parts[1] in "tTwW":
            found.append((int(parts[0], 16), re.sub(r"::h[0-9a-f]{16}$", "", parts[2])))
    return sorted(found)


def main(program, files):
    symbols = symbols_of(program)
    starts = [start for start, _ in symbols]
    table = collections.Counter()
    for file in files:
        for line in open(file):
            number, kind, rest = line.rstrip("\n").split(" ", 2)
            # A ~ is before the place of a call by one of autograd's threads: where the program waited meanwhile.
            operator, waits, frames = re.match(r"(.*?)( ~)?((?: [0-9a-f]+)+)$", rest).groups()
            names = [symbols[max(0, bisect.bisect_right(starts, int(at, 16)) - 1)][1] for at in frames.split()]
            own = [name.replace("tercet_worker::", "") for name in names if "tercet" in name][:4]
            table[kind, ("autograd of " if waits else "") + " < ".join(own), operator] += int(number)
    for (kind, place, operator), number in sorted(table.items(), key=lambda row: (row[0][0], row[0][1], -row[1])):
        print(f"{kind:7s}{number:5d} {operator:45s} {place}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
