#!/usr/bin/env python3
"""Mallard pages and message catalogues of unpacked Debian packages, to files that `tercet curate` reads.

    texts.py UNPACKED OUT

OUT/pages/LANG.jsonl     a page of GNOME's user documentation: id, title, text
OUT/sections/LANG.jsonl  a section of a page: title, heading, text
OUT/parallel/LANG.tsv    the first paragraph of a page, in English and in LANG
OUT/messages/LANG.tsv    a message in English and in LANG, of gettext's catalogues (.mo)
"""

import gettext
import json
import re
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

# What is no text of a page, or would be read without its place in it.
PASSED_OVER = {"info", "media", "links", "code", "screen"}
BLOCKS = {"p", "title", "desc", "item", "td", "tr", "note", "list", "steps", "section", "table"}


def local(element):
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def squeezed(text):
    return " ".join(text.split())


def text_of(element, without=frozenset()):
    """All text below an element, with a line for each block."""
    parts = []

    def walk(node):
        name = local(node)
        if node is not element and (name in PASSED_OVER or name in without):
            return
        if name in BLOCKS:
            parts.append("\n")
        parts.append(squeezed_inner(node.text))
        for child in node:
            walk(child)
            parts.append(squeezed_inner(child.tail))
        if name in BLOCKS:
            parts.append("\n")

    def squeezed_inner(text):
        return re.sub(r"\s+", " ", text or "")

    walk(element)
    lines = (squeezed(line) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


def page_of(path):
    """A page, or None for what is no page."""
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError:
        return None
    if local(root) != "page":
        return None
    title = next((text_of(child) for child in root if local(child) == "title"), "")
    sections = []
    for section in root.iter():
        if local(section) == "section":
            heading = next((text_of(child) for child in section if local(child) == "title"), "")
            body = text_of(section, without={"title", "section"})
            sections.append({"heading": squeezed(heading), "text": body})
    first = next((squeezed(text_of(child)) for child in root if local(child) == "p"), "")
    text = text_of(root, without={"title"})
    return {"id": path.stem, "title": squeezed(title), "text": text, "first": first, "sections": sections}


def pages_of(folder):
    found = ((path.stem, page_of(path)) for path in sorted(folder.rglob("*.page")))
    return {name: page for name, page in found if page}


def write_pages(help_folder, out):
    (out / "pages").mkdir(parents=True, exist_ok=True)
    (out / "sections").mkdir(parents=True, exist_ok=True)
    (out / "parallel").mkdir(parents=True, exist_ok=True)
    english = pages_of(help_folder / "C")
    for folder in sorted(help_folder.iterdir()):
        if folder.name == "LC_MESSAGES" or not folder.is_dir():
            continue
        language = "en" if folder.name == "C" else folder.name
        pages = pages_of(folder)
        if not pages:
            continue
        with open(out / "pages" / f"{language}.jsonl", "w", encoding="utf-8") as file:
            for page in pages.values():
                line = {key: page[key] for key in ("id", "title", "text")}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        with open(out / "sections" / f"{language}.jsonl", "w", encoding="utf-8") as file:
            for page in pages.values():
                for section in page["sections"]:
                    file.write(json.dumps({"title": page["title"], **section}, ensure_ascii=False) + "\n")
        if language == "en":
            continue
        with open(out / "parallel" / f"{language}.tsv", "w", encoding="utf-8") as file:
            file.write("src\ttgt\n")
            for name, page in pages.items():
                if name in english and english[name]["first"] and page["first"]:
                    file.write(f"{english[name]['first']}\t{page['first']}\n")


def messages_of(path):
    """Messages of a catalogue, without tabs, marks of keys and the header."""
    with open(path, "rb") as file:
        try:
            catalogue = gettext.GNUTranslations(file)._catalog
        except (OSError, UnicodeDecodeError, struct.error):
            return
    for key, translated in catalogue.items():
        message = key[0] if isinstance(key, tuple) else key
        message = message.rpartition("\x04")[2]
        if message and translated:
            yield squeezed(message.replace("_", "")), squeezed(translated.replace("_", ""))


def write_messages(root, out):
    (out / "messages").mkdir(parents=True, exist_ok=True)
    by_language = {}
    for path in sorted(root.rglob("LC_MESSAGES/*.mo")):
        by_language.setdefault(path.parent.parent.name, []).append(path)
    for language, paths in sorted(by_language.items()):
        with open(out / "messages" / f"{language}.tsv", "w", encoding="utf-8") as file:
            file.write("src\ttgt\n")
            for path in paths:
                file.writelines(f"{message}\t{translated}\n" for message, translated in messages_of(path))


if __name__ == "__main__":
    unpacked, out = Path(sys.argv[1]), Path(sys.argv[2])
    write_pages(unpacked / "usr/share/help", out)
    write_messages(unpacked / "usr/share", out)
