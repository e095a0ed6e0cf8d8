"""POSIX sh that changes one path, and guards that notice if it changed since the look.

Contents travel on stdin. A file is written beside its target, checked, given its mode and owner,
synced and renamed: whatever happens in between, the target is the old file or the new one. What is
beside it goes again, at the latest with the next change of that file: after SIGKILL or a loss of
power.
"""

from __future__ import annotations

import hashlib
import posixpath
import shlex
from dataclasses import dataclass, field, replace
from shlex import quote

from runner.hosts.script import Command
from runner.modules.files.state import LARGEST_CONTENT, FileState


@dataclass(frozen=True, slots=True)
class Attributes:
    """Mode and owner as they shall be; names or numbers."""

    mode: int
    owner: str
    group: str

    @property
    def shell(self) -> str:
        """Sets them on "$t". The owner first: chown clears set-user-ID bits."""
        owner = quote(f"{self.owner}:{self.group}")
        return f'chown -- {owner} "$t"\nchmod -- {self.mode:04o} "$t"\n'


def attributes_of(state: FileState) -> Attributes:
    """A state's mode and owner, as numbers where they are known."""
    return Attributes(
        state.mode,
        state.owner if state.uid is None else str(state.uid),
        state.group if state.gid is None else str(state.gid),
    )


def guard(state: FileState, content: bool = True) -> str:
    """Shell that exits 0 while the path is as in `state`.

    Args:
        content: False when only mode and owner are changed: a log may go on growing.
    """
    path = quote(state.path)
    if state.kind == "absent":
        return f"[ ! -e {path} ] && [ ! -L {path} ]"
    if state.kind == "link":
        return f'[ -L {path} ] && [ "$(readlink -- {path})" = {quote(state.target)} ]'
    user = ("%U", state.owner) if state.uid is None else ("%u", str(state.uid))
    group = ("%G", state.group) if state.gid is None else ("%g", str(state.gid))
    wanted = quote(f"{state.mode:o}:{user[1]}:{group[1]}")
    test = "-f" if state.kind == "file" else "-d"
    checks = [
        f"[ ! -L {path} ] && [ {test} {path} ]",
        f'[ "$(stat -c %a:{user[0]}:{group[0]} -- {path})" = {wanted} ]',
    ]
    if state.kind == "file" and content:
        checks.append(f'[ "$(sha256sum < {path})" = "{state.sha256}  -" ]')
    return " && ".join(checks)


# What is made beside the target is called after it, so that the next change finds what was left.
_BESIDE = """set -eu
umask 077
export LC_ALL=C
beside="$d/.gpurun.$name."
clean() {
  for each in "$beside"*; do [ ! -e "$each" ] || rm -rf --one-file-system -- "$each"; done
}
trap clean EXIT
trap 'exit 129' HUP INT PIPE TERM
clean
"""

_BEGIN = _BESIDE + 't=$(mktemp "${beside}XXXXXXXX")\n'

_CHECK = """if [ "$(sha256sum < "$t")" != "$sha256  -" ]; then
  echo "$p: the new content did not arrive whole; the old file is untouched" >&2
  exit 1
fi
"""

_ARRIVE = 'cat > "$t"\n' + _CHECK

# curl reads its configuration, secrets included, from standard input. wget has no such way.
_DOWNLOAD = """config=$(cat; echo .)
if command -v curl > /dev/null; then
  printf %s "${config%.}" | curl -K - -o "$t" || exit $?
elif [ -n "$plain" ] && command -v wget > /dev/null; then
  wget -q -O "$t" -T "$seconds" -- "$url" || exit $?
else
  echo "$p: this host has no curl to download with${plain:+, and no wget}" >&2
  exit 127
fi
got=$(sha256sum < "$t" | cut -c 1-64)
if [ "$got" != "$sha256" ]; then
  echo "$p: what was downloaded has the SHA-256 $got, not $sha256; the old file is untouched" >&2
  exit 1
fi
"""

_BACKUP = """b=$(mktemp "${beside}XXXXXXXX")
cp -fpT -- "$p" "$b"
sync -- "$b"
mv -fT -- "$b" "$backup"
"""

# Where SELinux is on, a replaced file keeps its context and a new one gets the policy's.
_END = """if [ -e /sys/fs/selinux/enforce ] && [ -e "$p" ]; then chcon --reference="$p" -- "$t"; fi
sync -- "$t"
new=; [ -e "$p" ] || new=yes
mv -fT -- "$t" "$p"
if [ -n "$new" ] && [ -e /sys/fs/selinux/enforce ] && command -v restorecon > /dev/null; then
  restorecon -- "$p"
fi
sync -- "$d"
"""


def write(
    path: str,
    content: bytes,
    attributes: Attributes,
    *,
    validate: str | None = None,
    backup: str = "",
    become: bool = True,
) -> Command:
    """Replace or create a file in one step.

    Args:
        validate: command with %s that must accept the new file first.
        backup: where a copy of the old file is kept, in the same folder; "": nowhere.
    """
    digest = hashlib.sha256(content).hexdigest()
    shell = _placed(path, digest, _ARRIVE, attributes, validate, backup)
    # What a validation prints, and a copy of the old file, may be of any size.
    brief = not validate and not backup and len(content) <= LARGEST_CONTENT
    return Command(f"write:{path}:{digest[:12]}", shell, content, become=become, brief=brief)


def copy_of(
    path: str, digest: str, source: str, attributes: Attributes, *, become: bool = True
) -> Command:
    """Replace or create a file by a copy that lies on the host.

    Args:
        source: shell that prints the copy.
    """
    arrive = f'{{ {source}\n}} > "$t"\n{_CHECK}'
    shell = _placed(path, digest, arrive, attributes, None, "")
    return Command(f"copy:{path}:{digest[:12]}", shell, become=become)


@dataclass(frozen=True, slots=True)
class Download:
    """Where a file comes from. `config` is curl's, and may hold secrets; `seconds` limits all."""

    url: str
    config: bytes = field(repr=False)
    seconds: float
    plain: bool
    """No more than the URL is needed, so that wget will do."""


def download(
    path: str,
    digest: str,
    source: Download,
    attributes: Attributes,
    *,
    validate: str | None = None,
    backup: str = "",
    become: bool = True,
) -> Command:
    """Replace or create a file by what the host downloads, once it has the wanted SHA-256."""
    names = f"plain={'yes' if source.plain else ''}; seconds={source.seconds:g}\n"
    names += f"url={quote(source.url) if source.plain else ''}\n"
    shell = _placed(path, digest, names + _DOWNLOAD, attributes, validate, backup)
    timeout = source.seconds + 30
    return Command(f"download:{path}:{digest[:12]}", shell, source.config, timeout, become)


def _placed(
    path: str, digest: str, arrive: str, attributes: Attributes, validate: str | None, backup: str
) -> str:
    """A file is made beside its target by `arrive`, and takes its place in one step."""
    parts = [
        f"{_names(path)}; sha256={digest}\n",
        _BEGIN,
        arrive,
        attributes.shell,
        _validation(validate) if validate else "",
        f"backup={quote(backup)}\n{_BACKUP}" if backup else "",
        _END,
    ]
    return "".join(parts)


def _names(path: str) -> str:
    """Sets "$p", its folder "$d", and the "$name" of what is made beside it."""
    name = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"p={quote(path)}; d={quote(posixpath.dirname(path))}; name={name}"


def _validation(command: str) -> str:
    words = [
        '"$t"'.join(quote(part) if part else "" for part in word.split("%s"))
        for word in shlex.split(command)
    ]
    message = quote(f" was refused by its validation ({command}); the old file is untouched")
    return (
        f"if ! said=$({' '.join(words)} 2>&1); then\n"
        f'  printf \'%s%s\\n%s\\n\' "$p" {message} "$said" >&2; exit 1\nfi\n'
    )


def set_attributes(path: str, attributes: Attributes, become: bool = True) -> Command:
    """Mode and owner only."""
    shell = f"set -eu\nt={quote(path)}\n{attributes.shell}"
    key = f"attributes:{path}:{attributes.mode:o}:{attributes.owner}:{attributes.group}"
    return Command(key, shell, become=become, brief=True)


def make_folders(paths: tuple[str, ...], attributes: Attributes, become: bool = True) -> Command:
    """Create folders, the outermost first."""
    each = "".join(f't={quote(path)}\nmkdir -- "$t"\n{attributes.shell}' for path in paths)
    return Command(f"mkdir:{paths[-1]}", f"set -eu\numask 077\n{each}", become=become, brief=True)


def remove_folders(paths: tuple[str, ...], become: bool = True) -> Command:
    """Remove empty folders, the innermost first; one that is not there is fine."""
    names = " ".join(quote(path) for path in reversed(paths))
    shell = f'set -eu\nfor d in {names}; do [ ! -e "$d" ] || rmdir -- "$d"; done'
    return Command(f"rmdir:{paths[-1]}", shell, become=become, brief=True)


def make_link(path: str, target: str, become: bool = True) -> Command:
    """Create or replace a symbolic link in one step."""
    shell = f"""{_names(path)}
{_BESIDE}t=$(mktemp -d "${{beside}}XXXXXXXX")
ln -s -- {quote(target)} "$t/link"
mv -fT -- "$t/link" "$p"
sync -- "$d"
"""
    return Command(f"link:{path}:{target}", shell, become=become, brief=True)


def remove(path: str, folder: bool = False, become: bool = True) -> Command:
    """Remove a file or link, or a folder with all in it (never across a mount)."""
    how = "rm -rf --one-file-system" if folder else "rm -f"
    return Command(f"remove:{path}", f"{how} -- {quote(path)}", become=become, brief=True)


def undoing(command: Command, before: FileState, after: FileState | None) -> Command:
    """The way back, as a command that does nothing where nothing was done.

    Args:
        after: the change's result; where the path is neither as before nor like that, someone
            else has changed it since and it is left alone. None: not looked at.
    """
    shell = f"if {guard(before, content=after is not None)}; then exit 0; fi\n"
    if after is not None:
        message = quote(f"{after.path} was changed by someone else since; it is left as it is")
        shell += f"if ! {{ {guard(after)}; }}; then echo {message} >&2; exit 1; fi\n"
    return replace(command, shell=shell + command.shell)
