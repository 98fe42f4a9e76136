"""Makes a sentencepiece precompiled_charsmap: what a recorder or a test feeds the reference."""

import struct

BLOCK = 256  # each node's children have a block of their own: simple, not small


def build(mapping):
    """The charsmap that turns each key of `mapping` (text, not empty, without U+0000) into its value."""
    root, offsets, strings = {}, {}, b""
    for key, value in mapping.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        if value not in offsets:
            offsets[value] = len(strings)
            strings += value.encode() + b"\0"
        node[None] = offsets[value]
    units = [0] * BLOCK
    pending = [(root, 0, 0)]
    while pending:
        node, at, label = pending.pop()
        base = len(units)
        assert base < 1 << 21, "too many keys: offsets are of 21 bits"
        units += [0] * BLOCK
        units[at] = label | (None in node) << 8 | (at ^ base) << 10
        for byte, child in node.items():
            if byte is None:
                units[base] = 1 << 31 | child
            else:
                pending.append((child, base + byte, byte))
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + strings
