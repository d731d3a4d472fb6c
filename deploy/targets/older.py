"""Scripts as Python 3.6 reads them: JetPack 4 has no other. Only notes of types stand in its way."""

import ast

FUTURE = "from __future__ import annotations\n"
Span = tuple[int, int, str]


def without_annotations(source: str) -> str:
    """Returns a script with its notes of types taken out, comments and lines kept where they are."""
    text = source.replace(FUTURE, "")
    lines = text.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column

    data = text.encode()
    spans: list[Span] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.arg) and node.annotation is not None:
            assert node.end_lineno is not None and node.end_col_offset is not None
            begin = place(node.lineno, node.col_offset) + len(node.arg.encode())
            spans.append((begin, place(node.end_lineno, node.end_col_offset), ""))
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            note = node.returns
            assert note.end_lineno is not None and note.end_col_offset is not None
            begin = data.rindex(b"->", 0, place(note.lineno, note.col_offset))
            begin = len(data[:begin].rstrip())
            spans.append((begin, place(note.end_lineno, note.end_col_offset), ""))
        elif isinstance(node, ast.AnnAssign):
            note, target = node.annotation, node.target
            assert note.end_lineno is not None and note.end_col_offset is not None
            assert target.end_lineno is not None and target.end_col_offset is not None
            begin = place(target.end_lineno, target.end_col_offset)
            if node.value is None:  # a declaration alone
                begin = place(node.lineno, node.col_offset)
            filled = "pass" if node.value is None else ""
            spans.append((begin, place(note.end_lineno, note.end_col_offset), filled))
    for begin, end, instead in sorted(spans, reverse=True):
        data = data[:begin] + instead.encode() + data[end:]
    return data.decode()
