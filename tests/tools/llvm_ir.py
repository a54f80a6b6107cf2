"""LLVM IR as text: types, arguments, and which kernel argument each access of global memory belongs to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

TYPE = r"(?:\{[^}]*\}|<[^>]*>|\w+)"


def closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one before `start`."""
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] in "([{<") - (text[i] in ")]}>")
        if not depth:
            return i
    raise AssertionError("unbalanced brackets")


def split_arguments(text: str) -> list[str]:
    pieces, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and not depth:
            pieces.append(text[start:i].strip())
            start = i + 1
    return [piece for piece in (*pieces, text[start:].strip()) if piece]


def type_of(argument: str) -> str:
    match = re.match(rf"\s*({TYPE})", argument)
    assert match, argument
    return match[1]


def members(kind: str) -> list[str]:
    if kind == "void":
        return []
    return split_arguments(kind[1:-1]) if kind.startswith("{") else [kind]


def size_of(kind: str) -> int:
    """Bytes of an LLVM type in memory."""
    if kind.startswith("<"):
        count, item = re.fullmatch(r"<(\d+) x (\w+)>", kind).groups()  # type: ignore[union-attr]
        return int(count) * size_of(item)
    if kind.startswith("i"):
        return max(1, int(kind[1:]) // 8)
    return {"half": 2, "bfloat": 2, "float": 4, "double": 8, "ptr": 8}[kind]


def ptx_text(asm: str) -> str:
    """Inline assembly without LLVM's escapes."""
    return asm.replace("\\0A", "\n").replace("\\09", " ")


def access_bits(ir: str, parameters: list[str]) -> dict[str, dict[str, set[int]]]:
    """Widths of a thread's loads and stores by kernel argument: {"x_ptr": {"load": {128}}}.

    `ir` is what triton made for a GPU, `parameters` names the arguments of its kernel. Addresses are followed back
    through pointer arithmetic; one that leads nowhere is listed as "?".
    """
    definitions = dict(re.findall(r"^\s*(%[\w.]+) = (.*)$", ir, re.MULTILINE))
    roots = {f"%{i}": name for i, name in enumerate(parameters)}

    def owners(pointer: str, seen: set[str]) -> set[str]:
        if pointer in roots:
            return {roots[pointer]}
        if pointer in seen:
            return set()
        seen.add(pointer)
        sources = list(_pointers(definitions.get(pointer, "")))
        return {owner for source in sources for owner in owners(source, seen)} if sources else {"?"}

    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for kind, pointer, bits in _accesses(ir):
        for owner in owners(pointer, set()):
            found[owner][kind].add(bits)
    return {owner: dict(kinds) for owner, kinds in found.items()}


def _pointers(definition: str) -> Iterator[str]:
    """The pointers to global memory, or to buffers of it, that a pointer is made from."""
    if re.match(r"phi ptr addrspace\([18]\)", definition):
        yield from re.findall(r"\[ (%[\w.]+),", definition)
    elif re.match(r"(getelementptr|select|(tail )?call ptr addrspace\(8\)|freeze|bitcast|addrspacecast) ", definition):
        yield from re.findall(r"ptr addrspace\([18]\)(?: \w+(?:\([^)]*\))?)*? (%[\w.]+)", definition)


POINTER = r"ptr addrspace\([18]\)(?: nonnull)? (%[\w.]+)"
PLAIN_ACCESS = re.compile(
    rf" = load (?:volatile )?(?P<loaded>{TYPE}), {POINTER}"
    rf"|^\s*store (?:volatile )?(?P<stored>{TYPE}) .*, {POINTER}"
    rf"|call (?P<from_buffer>{TYPE}) @llvm\.amdgcn\.raw\.ptr\.buffer\.load\.\w+\({POINTER}"
    rf"|call void @llvm\.amdgcn\.raw\.ptr\.buffer\.store\.\w+\((?P<to_buffer>{TYPE}) .*?, {POINTER}")
PTX_ACCESS = re.compile(r"\b(?P<kind>ld|st)\.(?:volatile\.)?global(?:\.(?!v\d|b\d)[\w:]+)*"
                        r"(?:\.v(?P<count>\d))?\.b(?P<bits>\d+)"
                        r"|cp\.async\.c[ag]\.shared\.global[^,]*,[^,]*, (?P<copied>\w+)")


def _accesses(ir: str) -> Iterator[tuple[str, str, int]]:
    """Each access of global memory: "load" or "store", address, bits."""
    for line in ir.splitlines():
        if match := PLAIN_ACCESS.search(line):
            kind = match["loaded"] or match["stored"] or match["from_buffer"] or match["to_buffer"]
            pointer = next(name for name in match.groups()[1::2] if name)
            yield "load" if match["loaded"] or match["from_buffer"] else "store", pointer, 8 * size_of(kind)
        elif (asm := re.search(r'asm sideeffect "([^"]*)", "[^"]*"\(', line)) and \
                (match := PTX_ACCESS.search(ptx_text(asm[1]))):
            address = re.search(POINTER, line[asm.end():])
            assert address, line
            bits = 8 * int(match["copied"], 0) if match["copied"] else int(match["count"] or 1) * int(match["bits"])
            yield "store" if match["kind"] == "st" else "load", address[1], bits
