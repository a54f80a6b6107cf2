"""Machine code as text: its instructions, and the loops that a kernel spends its time in.

The number of instructions that a launch executes is not known without running it. What can be read is the body of a
loop, and how many elements one turn of it handles. So `instructions per element` is, for a kernel,

    instructions of its largest loop * threads / elements that a program handles per turn,

or, where no loop is, all its instructions over the elements of a program. An instruction counts once whether its
predicate holds or not, a loop inside the loop counts one turn, and called subroutines (the slow path of a division)
count nothing. What stands outside the loop is given apart, as `setup`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

STORED_BITS = {"STG": {"": 32, "U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128}}


@dataclass(frozen=True)
class Instruction:
    mnemonic: str
    operands: str
    conditional: bool = False

    @property
    def is_global_access(self) -> bool:
        return self.mnemonic.startswith(("LDG", "STG", "UBLK", "UTMA", "global_", "buffer_", "flat_"))

    @property
    def stored_bits(self) -> int:
        """Bits that a thread writes to global memory."""
        if self.mnemonic.startswith("STG"):
            widths = [STORED_BITS["STG"][part] for part in self.mnemonic.split(".")[1:] if part in STORED_BITS["STG"]]
            return widths[0] if widths else 32
        if match := re.match(r"(?:global|buffer|flat)_store_(byte|short|dword)(?:_d16_hi)?(?:x(\d))?$", self.mnemonic):
            return {"byte": 8, "short": 16, "dword": 32}[match[1]] * int(match[2] or 1)
        return 0


@dataclass
class Block:
    """Instructions with one entry; `next` names the blocks that may follow."""

    instructions: list[Instruction]
    next: list[int]


@dataclass(frozen=True)
class Code:
    instructions: int
    """All that can be reached from the entry."""
    loop: tuple[Instruction, ...]
    """The largest loop; all instructions where there is none."""
    has_loop: bool

    @property
    def setup(self) -> int:
        return self.instructions - len(self.loop) if self.has_loop else 0

    @property
    def stored_bits(self) -> int:
        return sum(instruction.stored_bits for instruction in self.loop)


def read_code(text: str, arch: str) -> Code:
    """From the output of nvdisasm, or AMD's assembly."""
    blocks = _blocks(_amd_lines(text) if arch.startswith("gfx") else _nvidia_lines(text))
    reached = _reachable(blocks)
    loops = [part for part in _components(blocks, reached)
             if len(part) > 1 or any(i in blocks[i].next for i in part)]
    everything = [instruction for i in sorted(reached) for instruction in blocks[i].instructions]
    bodies = [[instruction for i in sorted(part) for instruction in blocks[i].instructions] for part in loops]
    bodies = [body for body in bodies if any(instruction.is_global_access for instruction in body)]  # no spinning
    largest = max(bodies, key=len, default=everything)
    return Code(len(everything), tuple(largest), bool(bodies))


def _nvidia_lines(text: str) -> Iterator[str | Instruction]:
    """Labels as text, instructions as such."""
    for line in text.splitlines():
        if match := re.match(r"(\.L_\w+):", line):
            yield match[1]
        elif match := re.match(r"\s+/\*[0-9a-f]+\*/\s+(@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)([^;]*);", line):
            conditional = bool(match[1] or re.search(r"\bU?P\d", match[3]))  # @P0 BRA, and BRA.U UP0
            yield Instruction(match[2], match[3], conditional)


def _amd_lines(text: str) -> Iterator[str | Instruction]:
    for line in text.splitlines():
        if match := re.match(r"(\.LBB\w+):", line):
            yield match[1]
        elif line.startswith(".Lfunc_end"):
            return
        elif match := re.match(r"\t([a-z]\w*)\s*([^;]*)", line):
            yield Instruction(match[1], match[2], conditional=match[1].startswith("s_cbranch"))


def _blocks(lines: Iterator[str | Instruction]) -> list[Block]:
    blocks, labels = [Block([], [])], dict[str, int]()
    for line in lines:
        last = blocks[-1].instructions
        if isinstance(line, str) or (last and _ends_block(last[-1])):
            blocks.append(Block([], []))
        if isinstance(line, str):
            labels[line] = len(blocks) - 1
        else:
            blocks[-1].instructions.append(line)
    for i, block in enumerate(blocks):
        last = block.instructions[-1] if block.instructions else None
        if last is not None and _is_branch(last):
            target = re.search(r"\.L\w+", last.operands)
            block.next += [labels[target[0]]] if target and target[0] in labels else []
        if (last is None or last.conditional or not _ends_block(last)) and i + 1 < len(blocks):
            block.next.append(i + 1)
    return blocks


def _is_branch(instruction: Instruction) -> bool:
    return instruction.mnemonic.split(".")[0] in ("BRA", "BRX", "JMP") or \
        instruction.mnemonic.startswith(("s_branch", "s_cbranch"))


def _ends_block(instruction: Instruction) -> bool:
    return _is_branch(instruction) or instruction.mnemonic.split(".")[0] in ("EXIT", "RET", "s_endpgm", "s_setpc_b64")


def _reachable(blocks: list[Block]) -> set[int]:
    reached, pending = set[int](), [0]
    while pending:
        i = pending.pop()
        if i not in reached:
            reached.add(i)
            pending += blocks[i].next
    return reached


def _components(blocks: list[Block], nodes: set[int]) -> list[list[int]]:
    """Strongly connected components: blocks that reach each other."""
    def reach(start: int, edges: Mapping[int, list[int]]) -> set[int]:
        seen, pending = {start}, [start]
        while pending:
            for i in edges[pending.pop()]:
                if i not in seen:
                    seen.add(i)
                    pending.append(i)
        return seen

    forward = {i: [j for j in blocks[i].next if j in nodes] for i in nodes}
    backward: dict[int, list[int]] = {i: [] for i in nodes}
    for i, following in forward.items():
        for j in following:
            backward[j].append(i)
    left, components = set(nodes), []
    while left:
        start = min(left)
        component = reach(start, forward) & reach(start, backward)
        components.append(sorted(component))
        left -= component
    return components
