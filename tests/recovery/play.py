"""Plays of these tests."""

POWER_PLAY = """\
- hosts: all
  drain: {{mode: none}}
  tasks:
    - name: power
      power_cycle:
        command: {command}
"""
