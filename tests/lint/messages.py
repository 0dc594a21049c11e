#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""messages.py - every message that a user can meet is in vblkd-messages(7), and no other.

usage: messages.py [--list]

Messages are the format strings of the calls below, in src/daemon, src/bdev, src/host and
vdpa-tools; what is filled in is written "..." in the page. One that consists of
something filled in only has its text from another of these calls. Exit code 1
after findings.

  --list	print the messages as heads for the page
"""

import pathlib
import re
import sys

PAGE = "man/vblkd-messages.7"
FOLDERS = ("src/daemon", "src/bdev", "src/host", "vdpa-tools")
# Function: does it add ": REASON" of the system?
CALLS = {
    "log_error": False,
    "log_warning": False,
    "log_notice": False,
    "log_event": False,
    "log_errno": True,
    "bdev_why": False,
    "refuse": False,
    "fail": False,
    "keeper_answer_detach": False,
    "keeper_detach_refused": False,
}
# A reason that is handed up to one of those.
REASON = r"snprintf\(\s*(?:why|text|buf, len)\b"
CALL = re.compile(r"\b(%s)\s*\(|%s" % ("|".join(CALLS), REASON))
TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([A-Z][A-Za-z0-9_]*)(?=\s*["]))')
SPECIFIER = re.compile(r"%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|z|j)?[diouxXcsp]|%$|%(?=\.\.\.)")


def first_string(source, start):
    """The first string literal of the call whose '(' is before start, or None."""
    depth, at = 1, start
    while at < len(source) and depth:
        char = source[at]
        if char == '"':
            return literal(source, at)
        if char == "'":
            at = source.index("'", at + (2 if source[at + 1] == "\\" else 1))
        depth += (char == "(") - (char == ")")
        at += 1
    return None


def literal(source, at):
    """Adjacent literals and macros between them; a macro stands for what is filled in."""
    text = ""
    while True:
        match = TOKEN.match(source, at)
        if not match:
            break
        text += match.group(1) if match.group(1) is not None else "..."
        at = match.end()
    # A macro behind the last literal: "..." PRIu64, or a directory.
    if re.match(r"\s*[A-Z][A-Za-z0-9_]*\s*[,)]", source[at:]) and source[at - 1] == '"':
        text += "..."
    return text


def normal(text):
    text = SPECIFIER.sub("...", text).replace('\\"', '"').replace("%%", "%")
    text = re.sub(r"(\.\.\.)+", "...", text)
    return re.sub(r"\s+", " ", text).strip()


def messages():
    found = {}
    for folder in FOLDERS:
        for path in sorted(pathlib.Path(folder).glob("*.c")):
            source = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()),
                            path.read_text(), flags=re.S)
            for match in CALL.finditer(source):
                text = first_string(source, match.end())
                if text is None:
                    continue
                text = normal(text)
                if CALLS.get(match.group(1)):
                    text += ": ..."
                if re.search(r"[a-z]{2,}.* .*[a-z]{2,}", text):
                    line = source.count("\n", 0, match.start()) + 1
                    found.setdefault(text, "%s:%d" % (path, line))
    return found


def heads():
    found = {}
    for number, line in enumerate(pathlib.Path(PAGE).read_text().splitlines(), 1):
        match = re.match(r'\.It Sy "(.*)"$', line)
        if match:
            found[match.group(1).replace('""', '"').replace("\\(dq", '"')] = "%s:%d" % (PAGE, number)
    return found


def heads_without_answer():
    """Heads of a list's last entries that no text follows."""
    lines = pathlib.Path(PAGE).read_text().splitlines()
    for number, line in enumerate(lines[:-1], 1):
        if line.startswith(".It Sy") and lines[number] == ".El":
            yield "%s:%d: no answer: %s" % (PAGE, number, line[len(".It Sy "):])


def main():
    source = messages()
    if sys.argv[1:] == ["--list"]:
        for text, where in source.items():
            print('.It Sy "%s"\n.\\" %s' % (text.replace('"', '""'), where))
        return 0
    if len(source) < 100:
        print("%s:1: only %d messages found in the sources: is the form of the calls another?"
              % (PAGE, len(source)))
        return 1
    page = heads()
    findings = 0
    for text, where in source.items():
        if text not in page:
            print('%s: not in %s; add: .It Sy "%s"' % (where, PAGE, text.replace('"', '""')))
            findings += 1
    for text, where in page.items():
        if text not in source:
            print("%s: no message says so (any more): %s" % (where, text))
            findings += 1
    for line in heads_without_answer():
        print(line)
        findings += 1
    print("%d findings" % findings if findings else "clean")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
