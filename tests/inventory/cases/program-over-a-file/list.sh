#!/bin/sh
echo '{"g": {"hosts": ["a", "b"]}, "_meta": {"hostvars": {"a": {"x": 2}, "b": {"x": 3}}}}'
