#!/bin/sh
[ "$1" = --list ] || exit 3
cat <<'END'
{"gpu": {"hosts": ["a1", "a2"], "vars": {"v": [1, 2.5, null, true]}, "children": ["h100"]},
 "h100": ["h1", "a1"],
 "lonely": {"x": 1, "y": "z"},
 "nohosts": {"hosts": []},
 "parent": {"children": ["declared_nowhere"]},
 "ungrouped": {"hosts": ["u1"]},
 "all": {"children": ["gpu", "ungrouped"], "vars": {"everywhere": 1}},
 "_meta": {"hostvars": {"a1": {"ansible_host": "10.0.0.1", "nested": {"a": [1]}}, "ghost": {"x": 1}}}}
END
