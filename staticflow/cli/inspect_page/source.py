"""The generated source with a name for each line, and where in it each kernel is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

_NOTE = re.compile(r"^( *)# (.*)$")
_DEFINITION = re.compile(r"^(?:def (\w+)\(|(\w+) = epilogue\()")
_ARROW = "  ->  "


def definitions(lines: Sequence[str]) -> dict[str, int]:
    """The line, from 1, in which each function of a module begins."""
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        match = _DEFINITION.match(line)
        if match:
            found[match[1] or match[2]] = number
    return found


def calls(lines: Sequence[str]) -> dict[str, list[int]]:
    """The lines of the notes above calls in drivers, by what they say: "line  ->  ops: type"."""
    found: dict[str, list[int]] = {}
    k = 0
    while k < len(lines):
        match, first = _NOTE.match(lines[k]), k + 1
        k += 1
        if match is None or not match[1] or _ARROW not in match[2]:
            continue
        text, indent = match[2], match[1]
        while k < len(lines) and lines[k].startswith(f"{indent}#     "):
            text += " " + lines[k].strip().removeprefix("#").strip()
            k += 1
        found.setdefault(text, []).append(first)
    return found


def listing(lines: Sequence[str], notes: Mapping[int, str]) -> str:
    """The source: names of functions lead to their definitions, and `notes` back to rows."""
    known = definitions(lines)
    names = re.compile(r"\b(" + "|".join(map(re.escape, known)) + r")(?=\()") if known else None

    def leads(match: re.Match[str]) -> str:
        return f'<a href="#L{known[match[1]]}">{match[1]}</a>'

    shown = []
    for number, line in enumerate(lines, 1):
        text = escape(line)
        if number in notes:
            text = f'<a href="#{notes[number]}">{text}</a>'
        elif names is not None and known.get(line[4:].split("(")[0]) != number:
            text = names.sub(leads, text)
        shown.append(f'<span id="L{number}"><a href="#L{number}">{number:5}</a> {text}</span>')
    return f'<pre class="source">{chr(10).join(shown)}</pre>'
