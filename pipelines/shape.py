"""What a configuration may say, and the error of one that says something else.

A shape is `str`, `int` (a whole number, 1 or more), `bool`, `object` (anything), `[shape]` for a list, or a dictionary
of shapes by key: `name!` must be there, and `...` stands for every name that the user chooses.
"""

import sys

SAID = {str: "text", int: "a whole number, 1 or more", bool: "true or false"}


def refuse(message):
    """Ends the program as `tercet` does when its user has to change something."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def choices(names):
    """Names to choose from, as a sentence ends with them."""
    return ", ".join(sorted(map(str, names))) or "none"


def check(value, shape, where=""):
    """Yields what is wrong with `value`, which stands at the key `where`."""
    at = f"{where}: " if where else ""
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{at}a list is asked for, and it is {value!r}"
            return
        for number, item in enumerate(value, 1):
            yield from check(item, shape[0], f"{where}, entry {number}")
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{at}keys are asked for, and it is {value!r}"
            return
        known = {str(key).rstrip("!"): inner for key, inner in shape.items() if key is not ...}
        for key, inner in value.items():
            if key in known or ... in shape:
                yield from check(inner, known.get(key, shape.get(...)), f"{where}.{key}".lstrip("."))
            else:
                yield f"{at}there is no key {key!r}; keys here: {choices(known)}"
        for key in shape:
            if str(key).endswith("!") and key[:-1] not in value:
                yield f"{at}{key[:-1]} is missing"
    elif shape is int:
        if type(value) is not int or value < 1:
            yield f"{at}{SAID[int]}, is asked for, and it is {value!r}"
    elif not isinstance(value, shape):
        yield f"{at}{SAID[shape]} is asked for, and it is {value!r}"
