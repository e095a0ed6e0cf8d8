"""Edits of a file that is there: read it, edit its bytes, plan the one change that this makes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from runner.modules.base import Context, Outcome, Refused
from runner.modules.files.arguments import Content, HostPath, Switch
from runner.modules.files.change import Wanted, plan_content
from runner.modules.files.state import LARGEST_CONTENT, FileState, follow, state_of


class EditArguments(Content):
    """What modules that edit a part of a file have in common."""

    path: HostPath = Field(description="The file on the host.")
    create: Switch = Field(
        default=False, description="Create the file when it is missing; else that is refused."
    )


def plan_edit(
    args: EditArguments,
    edit: Callable[[bytes], bytes],
    observed: Mapping[str, Any],
    context: Context,
    *,
    removes: bool = False,
) -> Outcome:
    """One change that makes a file what `edit` makes of its bytes, or none.

    Args:
        edit: pure; may raise `Refused`.
        removes: the task only takes something out: a file that is not there is fine.

    Raises:
        Refused: the file is missing, too large or no file, or a second run of the edit would
            change its own result again.
    """
    before = follow(state_of(args.path, observed), observed)
    if not before.exists and removes:
        return Outcome()
    if not before.exists and not args.create:
        raise Refused(
            f"{before.path} does not exist; `create: true` makes a new file of it, if that is meant"
        )
    old = content_of(before)
    new = edit(old)
    if edit(new) != new:
        raise Refused(
            f"{before.path}: a second run would change the file again, so this edit never ends;"
            " make the expression match the line that it leaves behind, and no other"
        )
    if not before.exists and not new:
        return Outcome()
    return plan_content(Wanted(args.path, new, args), observed, context)


def content_of(state: FileState, kind: str = "file") -> bytes:
    """A file's bytes; none of a file that does not exist.

    Raises:
        Refused: something else is at the path, or the file is too large; `kind` names in the
            message what is wanted there.
    """
    if not state.exists:
        return b""
    if state.kind != "file":
        raise Refused(f"{state.path} is a {state.kind}, a {kind} is wanted there")
    if state.size is None:
        raise Refused(
            f"{state.path} is downloaded by an earlier task of this play, so what is in it is not"
            " known yet; edit it in a play of its own after this one"
        )
    if state.content is None:
        raise Refused(
            f"{state.path} has {state.size} bytes; {kind}s up to {LARGEST_CONTENT} are edited"
        )
    return state.content


def expression(text: str) -> re.Pattern[bytes]:
    """A regular expression as Ansible's file modules read it: Python's, on bytes.

    Raises:
        ValueError: it is none; the message says where.
    """
    try:
        return re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression of Python: {error}") from None
