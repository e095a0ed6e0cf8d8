"""YAML text to plain data in which every value knows where it was written.

PyYAML's composer gives the positions (libyaml's where it is built in); the values are made here,
because YAML 1.1 surprises people: `no` is a boolean, `0644` is 420, `12:30:45` is 45045 and a
second equal key silently wins. Here octal, sexagesimal and dates stay the text that was written,
equal keys are a mistake, and boolean words other than true and false are kept apart
(`BooleanWord`) until it is known what is wanted at their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runner.errors import Origin, Problem
from runner.playbook import secret_tags
from runner.playbook.document import Map, Seq, TemplateText
from runner.secrets.value import Unread
from runner.secrets.vault import is_encrypted

MAX_BYTES = 10_000_000
"""A file of a person is smaller; a bigger one is a mistake, told before it fills the memory."""
MAX_VALUES = 1_000_000
"""Values after aliases are expanded (a few lines of YAML can stand for billions)."""
MAX_DEPTH = 100

TEMPLATE_MARK = re.compile(r"\{[{%#]")
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
_TAG = "tag:yaml.org,2002:"
_UNQUOTED_TEMPLATE = re.compile(r"(:|-)\s+\{\{")

# libyaml's loader where PyYAML was built with it; the same positions, ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class BooleanWord(str):
    """An unquoted yes, no, on or off: a boolean for YAML 1.1, text for YAML 1.2."""

    @property
    def boolean(self) -> bool:
        return self.lower() in ("yes", "on", "y")


@dataclass(slots=True)
class Document:
    """One parsed file. `value` is None when it is empty or could not be parsed at all."""

    file: str
    text: str = ""
    value: Any = None
    origin: Origin = field(default_factory=lambda: Origin(""))
    problems: list[Problem] = field(default_factory=list)

    def line(self, number: int) -> str:
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


def read_text(path: Path) -> tuple[str, Problem | None]:
    """A user's file as text, or why it cannot be read."""
    where = Origin(str(path))
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return "", Problem("no such file", where, "Check the path and where you are.")
    except IsADirectoryError:
        return "", Problem("is a folder, a YAML file is expected", where)
    except OSError as error:
        return "", Problem(f"cannot be read: {error.strerror}", where)
    if len(raw) > MAX_BYTES:
        return "", Problem(
            f"is larger than {MAX_BYTES // 1_000_000} MB", where, "Is it the right file?"
        )
    try:
        return raw.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        return "", Problem(
            f"byte 0x{raw[error.start]:02x} is not UTF-8 text",
            Origin(str(path), line, column),
            "Save the file as UTF-8 (iconv -f latin1 -t utf-8), or name the right file.",
        )


def read_yaml(path: Path, *, boolean_words: bool = False) -> Document:
    """The YAML file `path`; mistakes are in the document's `problems`, nothing is raised.

    A file of ansible-vault is decrypted; values encrypted by sops are read when they are used.

    Args:
        boolean_words: take yes, no, on and off as booleans, as Ansible does (inventories).
    """
    text, problem = read_text(path)
    if problem:
        return Document(str(path), problems=[problem], origin=Origin(str(path)))
    if is_encrypted(text):
        from runner.playbook.encrypted import decrypted

        return decrypted(text, path, boolean_words=boolean_words)
    document = parse_yaml(text, str(path), boolean_words=boolean_words)
    if isinstance(document.value, Map) and "sops" in document.value:
        from runner.playbook.encrypted import is_of_sops, without_sops

        if is_of_sops(document.value):
            without_sops(document)
    return document


def parse_yaml(text: str, file: str, *, boolean_words: bool = False) -> Document:
    """YAML text as `Map`, `Seq` and scalars with origins. See `read_yaml`."""
    document = Document(file, text, origin=Origin(file, 1, 1))
    try:
        nodes = list(_nodes(text))
    except yaml.YAMLError as error:
        document.problems.append(_syntax_problem(document, error))
        return document
    except RecursionError:
        document.problems.append(_too_deep(document.origin))
        return document
    if len(nodes) > 1:
        document.problems.append(
            Problem(
                "a second YAML document begins here (---); only one is expected per file",
                _origin(file, nodes[1]),
                "Remove the --- line, or make it a file of its own.",
            )
        )
    if nodes:
        document.origin = _origin(file, nodes[0])
        builder = _Builder(document, boolean_words)
        value = builder.build(nodes[0])
        document.value = value if builder.values <= MAX_VALUES else None
    return document


def compose(text: str) -> list[Any]:
    """The nodes of YAML text that is known to be sound."""
    return list(_nodes(text))


def _nodes(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _origin(file: str, node: Any) -> Origin:
    return Origin(file, node.start_mark.line + 1, node.start_mark.column + 1)


def _too_deep(origin: Origin) -> Problem:
    return Problem(f"nested more than {MAX_DEPTH} levels deep", origin, "Is it the right file?")


class _Builder:
    """Makes values of nodes. An aliased node is made once and shared, but counted each time."""

    def __init__(self, document: Document, boolean_words: bool) -> None:
        self.document = document
        self.boolean_words = boolean_words
        self.values = 0
        self.made: dict[int, tuple[Any, int]] = {}
        self.open: set[int] = set()

    def problem(self, message: str, node: Any, hint: str = "") -> None:
        self.document.problems.append(Problem(message, _origin(self.document.file, node), hint))

    def build(self, node: Any) -> Any:
        """The value of a node; None (and a problem) where there is none."""
        if id(node) in self.made:
            value, size = self.made[id(node)]
            self.count(size, node)
            return value
        if id(node) in self.open:
            self.problem("an alias (*name) stands inside its own anchor (&name)", node)
            return None
        if len(self.open) >= MAX_DEPTH:
            self.document.problems.append(_too_deep(_origin(self.document.file, node)))
            return None
        before = self.values
        self.open.add(id(node))
        value = self.make(node)
        self.open.discard(id(node))
        self.count(1, node)
        self.made[id(node)] = (value, self.values - before)
        return value

    def count(self, size: int, node: Any) -> None:
        if self.values <= MAX_VALUES < self.values + size:
            self.problem(f"aliases expand to more than {MAX_VALUES} values", node)
        self.values += size

    def make(self, node: Any) -> Any:
        if node.tag in secret_tags.TAGS:
            return self.secret(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item) for item in node.value]
            origins = [_origin(self.document.file, item) for item in node.value]
            return Seq(items, _origin(self.document.file, node), origins)
        return self.scalar(node)

    def mapping(self, node: Any) -> Map | TemplateText:
        result = Map({}, _origin(self.document.file, node))
        merged = Map()
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                self.merge(merged, value_node)
                continue
            key = self.key(key_node)
            if key is None:
                # Noted; a template keeps what stands above it from being judged as a mapping.
                return TemplateText("{{ none }}", _origin(self.document.file, node))
            if key in result:
                first = result.origins[key]
                self.problem(
                    f'key "{key}" is given twice; first on line {first.line}',
                    key_node,
                    "Keep one of them.",
                )
                continue
            result[key] = self.build(value_node)
            if isinstance(result[key], Unread) and value_node.tag in secret_tags.TAGS:
                result[key].name = key
            result.origins[key] = _origin(
                self.document.file, key_node if _is_empty(value_node) else value_node
            )
            result.keys_at[key] = _origin(self.document.file, key_node)
        for key, value in merged.items():
            if key not in result:
                result[key] = value
                result.origins[key] = merged.origins[key]
        return result

    def key(self, node: Any) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            if not self.boolean_words and _is_word(node):
                self.problem(
                    f"key `{node.value}` is a boolean in YAML, not text",
                    node,
                    f'Quote it: "{node.value}".',
                )
            return self.text(node)
        line = self.document.line(node.start_mark.line + 1)
        if "{{" in line[max(0, node.start_mark.column - 1) :]:
            self.problem(
                "a value that begins with {{ must be quoted; YAML reads it as a mapping",
                node,
                'Write "{{ ... }}".',
            )
        else:
            self.problem("a key must be text, here a list or mapping stands as key", node)
        return None

    def merge(self, merged: Map, node: Any) -> None:
        """What `<<: *name` brings in; the first of several wins (YAML's merge key)."""
        value = self.build(node)
        for source in [value] if isinstance(value, Map) else value or []:
            if not isinstance(source, Map):
                self.problem("<< needs a mapping (an alias like *name)", node)
                return
            for key, item in source.items():
                if key not in merged:
                    merged[key] = item
                    merged.origins[key] = source.where(key) or _origin(self.document.file, node)

    def secret(self, node: Any) -> Unread | None:
        """What stands for a secret, read when it is used."""
        where = _origin(self.document.file, node)
        if node.tag in secret_tags.VAULT:
            if isinstance(node, yaml.ScalarNode) and is_encrypted(node.value):
                return secret_tags.vault_value(node.value, where)
            hint = "Write what ansible-vault encrypt_string prints, beginning with !vault |"
            self.problem("!vault stands before a text that is not encrypted", node, hint)
            return None
        try:
            value = self.mapping(node) if isinstance(node, yaml.MappingNode) else None
            return secret_tags.secret_value(value, where, Path(self.document.file).parent)
        except secret_tags.WrongTag as error:
            self.problem(str(error), node, secret_tags.FORM)
            return None

    def scalar(self, node: Any) -> Any:
        tag, text = node.tag, node.value
        if tag == "!unsafe":
            return text
        if not tag.startswith(_TAG):
            self.problem(f"tag {tag} is not known here", node, "Remove the tag.")
            return None
        kind = tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return self.boolean(node)
        if kind in ("int", "float"):
            return _number(text, kind)
        return self.text(node)

    def boolean(self, node: Any) -> Any:
        if self.boolean_words or not _is_word(node):
            return node.value.lower() in ("true", "yes", "on")
        return BooleanWord(node.value)

    def text(self, node: Any) -> str:
        if TEMPLATE_MARK.search(node.value):
            return TemplateText(node.value, _origin(self.document.file, node))
        return str(node.value)


def _is_empty(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value and node.style is None


def _is_word(node: Any) -> bool:
    return bool(node.tag == _TAG + "bool" and node.value.lower() not in ("true", "false"))


def _number(text: str, kind: str) -> Any:
    """A number, or the text where YAML 1.1 would make an unexpected number of it."""
    if ":" in text or _OCTAL.match(text):
        return text
    plain = text.replace("_", "")
    if kind == "int":
        return int(plain, 0)
    return float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _syntax_problem(document: Document, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line = document.text.count("\n", 0, error.position) + 1
        return Problem(
            "a control character stands in the text",
            Origin(document.file, line, 1),
            "Remove it; is it the right file?",
        )
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem(f"is not YAML: {error}", Origin(document.file))
    origin = Origin(document.file, mark.line + 1, mark.column + 1)
    said = str(getattr(error, "problem", "") or error)
    message, hint = _explain(document, mark.line + 1, said)
    return Problem(message, origin, hint)


def _explain(document: Document, number: int, said: str) -> tuple[str, str]:
    """A sentence for what libyaml said, from the line where it stopped and the one above."""
    line, above = document.line(number), document.line(number - 1)
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in said:
        return "a tab indents this line; YAML wants blanks", "Replace each tab by two blanks."
    for text in (line, above):
        if _UNQUOTED_TEMPLATE.search(text):
            return (
                "a value that begins with {{ must be quoted; YAML reads it as a mapping",
                f"Quote the whole value: {_quoted(text)}",
            )
    if "mapping values are not allowed" in said:
        return (
            "a second `: ` on this line (or wrong indentation) makes YAML see a mapping in a value",
            'Quote the value: key: "text: more text"; or align this line with the ones above.',
        )
    if "did not find expected" in said or "expected <block end>" in said:
        return (
            f"the structure breaks here ({said})",
            "Check the indentation of this line and the one above, and that quotes are closed.",
        )
    if "maximum nesting depth" in said:
        return f"nested more than {MAX_DEPTH} levels deep", "Is it the right file?"
    if "undefined alias" in said:
        return said, "Define the anchor (&name) above its first use."
    return f"is not YAML: {said}", "Check quotes, brackets and indentation here."


def _quoted(line: str) -> str:
    """The line with its `{{ ... }}` value in quotes."""
    return re.sub(r"((?::|-)\s+)(\{\{.*?)\s*$", lambda m: f'{m[1]}"{m[2]}"', line).strip()
