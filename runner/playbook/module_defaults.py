"""`module_defaults`: arguments that all tasks of a module take where they say nothing."""

from __future__ import annotations

from runner.modules.registry import MODULES, load_module, short_name
from runner.playbook.arguments import own_names
from runner.playbook.document import Map
from runner.playbook.fields import Fields, kind_of
from runner.playbook.keywords import ABSENT_MODULES, nearest


def read_module_defaults(fields: Fields) -> dict[str, Map]:
    """The `module_defaults` of a play or block: module -> arguments; mistakes are noted.

    As in Ansible an inner one replaces an outer one of the same module as a whole.
    """
    given = fields.mapping("module_defaults")
    found: dict[str, Map] = {}
    for key, arguments in given.items():
        name, where = short_name(key), given.keys_at.get(key)
        if key.startswith("group/"):
            hint = "Name each module with its arguments; modules have no groups here."
            fields.note("module_defaults: groups of modules are not offered", where, hint)
        elif name not in MODULES:
            hint = ABSENT_MODULES.get(name) or nearest(name, MODULES)
            fields.note(f"module_defaults: there is no module {key}", where, hint)
        elif not isinstance(arguments, Map):
            message = f"module_defaults: expected arguments of {name}, found {kind_of(arguments)}"
            fields.note(message, given.where(key), "Write them under it: name: value.")
        else:
            found[name] = _checked(fields, name, arguments)
    return found


def _checked(fields: Fields, name: str, given: Map) -> Map:
    """The arguments under the module's own names for them."""
    module = load_module(name).arguments
    arguments = own_names(given, module.other_names, fields.problems)
    of_module = module.model_fields
    known = {*of_module, *(info.alias for info in of_module.values() if info.alias)}
    for argument in arguments:
        if argument not in known:
            where = arguments.keys_at.get(argument)
            fields.note(f"{name} has no argument {argument}", where, nearest(argument, known))
    return arguments


def with_defaults(arguments: Map, defaults: Map) -> Map:
    """The arguments of a task with those it does not give itself."""
    made = Map({**defaults, **arguments}, arguments.origin)
    made.origins = {**defaults.origins, **arguments.origins}
    made.keys_at = {**defaults.keys_at, **arguments.keys_at}
    return made
