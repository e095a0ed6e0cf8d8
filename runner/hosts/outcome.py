"""What became of blocks, judged from the steps that ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.hosts.script import Block, BlockResult, Result


def outcomes(blocks: Sequence[Block], results: Mapping[int, Result]) -> list[BlockResult]:
    """One result per block.

    Args:
        blocks: as they were sent.
        results: of the steps that ran, by position among all steps of the blocks.
    """
    judged: list[BlockResult] = []
    index = 0
    stopped = False
    for block in blocks:
        size = (block.guard is not None) + len(block.do) + len(block.reread)
        mine = {n - index: results[n] for n in range(index, index + size) if n in results}
        index += size
        judged.append(BlockResult(block.key, "not run") if stopped else _outcome(block, mine))
        stopped = judged[-1].status != "done"
    return judged


def _outcome(block: Block, results: Mapping[int, Result]) -> BlockResult:
    first = 1 if block.guard else 0
    guard = results.get(0) if block.guard else None
    if guard is not None and guard.rc != 0:
        return BlockResult(block.key, "drifted", guard)
    last = first + len(block.do)
    do = tuple(results[n] for n in range(first, last) if n in results)
    reread = {
        command.key: results[last + n]
        for n, command in enumerate(block.reread)
        if last + n in results
    }
    good = len(do) == len(block.do) and all(result.rc == 0 for result in do)
    return BlockResult(block.key, "done" if good else "failed", guard, do, reread)
