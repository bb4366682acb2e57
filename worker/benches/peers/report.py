"""What was found, as lines and tables (Markdown)."""

import os
import platform
import statistics
from importlib.metadata import version


def machine(args, cores, vocabularies) -> str:
    packages = ["FlagEmbedding", "sentence-transformers", "transformers", "torch"]
    return (
        f"{platform.machine()}, {args.threads} thread(s) on core(s) {cores}, fp32, load {os.getloadavg()[0]:.1f}; "
        f"{', '.join(f'{name} {version(name)}' for name in packages)}; vocabularies {vocabularies}; "
        f"Tercet with sub_batch_tokens = {args.sub_batch_tokens}, kept_graph_tokens = {args.kept_graph_tokens}; "
        f"cached MNRL with mini-batches of {args.mini_batch}\n"
    )


def turn(side, comparison, num_words, number, outcome) -> str:
    head = f"{comparison.name}, {num_words} words, {size(comparison)}, turn {number + 1}: {side}: "
    peak = f"peak {gib(outcome.peak_rss_bytes)}"
    if outcome.failure:
        return f"{head}{outcome.failure}; {peak}"
    secs = statistics.median(step.secs for step in outcome.steps)
    cpu_secs = statistics.median(step.cpu_secs for step in outcome.steps)
    tokens, padded = sum(s.tokens for s in outcome.steps), sum(s.padded_tokens for s in outcome.steps)
    per_step = tokens / len(outcome.steps)
    return (
        f"{head}{secs:.2f} s a step, {cpu_secs:.2f} s of processors, {per_step:.0f} tokens, "
        f"{1 - tokens / padded:.1%} padding, {peak}"
    )


def comparison(compared, num_words, outcomes) -> str:
    """The sides' medians over all timed steps, and how many times as much Tercet does."""
    lines = [
        f"\n{compared.name}, {num_words} words, {size(compared)}",
        "",
        "| side | steps | tokens/s | tokens per processor second | peak memory | Tercet: tokens/s | per processor second | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    figures = {side: Figures(own) for side, own in outcomes.items()}
    ours = figures["Tercet"]
    for side, own in figures.items():
        if own.failure:
            lines.append(f"| {side} | 0 | {own.failure} | | {gib(own.peak)} | | | |")
            continue
        ratios = "| | | |"
        if side != "Tercet" and not ours.failure:
            ratios = f"| {ours.rate / own.rate:.2f} × | {ours.cpu_rate / own.cpu_rate:.2f} × | 1/{own.peak / ours.peak:.1f} |"
        lines.append(
            f"| {side} | {own.num_steps} | {own.rate:,.0f} | {own.cpu_rate:,.0f} | {gib(own.peak)} {ratios}"
        )
    return "\n".join([*lines, "", *differing_tokens(outcomes)])


class Figures:
    """Medians over the steps of all turns; the largest peak."""

    def __init__(self, outcomes):
        self.failure = next((outcome.failure for outcome in outcomes if outcome.failure), None)
        self.peak = max(outcome.peak_rss_bytes for outcome in outcomes)
        steps = [step for outcome in outcomes for step in outcome.steps]
        self.num_steps = len(steps)
        if steps:
            self.rate = statistics.median(step.tokens / step.secs for step in steps)
            self.cpu_rate = statistics.median(step.tokens / step.cpu_secs for step in steps)


def differing_tokens(outcomes) -> list[str]:
    """A comparison of sides that read other tokens is none: said aloud."""
    lines = []
    for number, turn_outcomes in enumerate(zip(*outcomes.values())):
        counts = {side: {s.tokens for s in own.steps} for side, own in zip(outcomes, turn_outcomes) if own.steps}
        if len(set.union(set(), *counts.values())) > 1:
            lines.append(f"NOT THE SAME TOKENS in turn {number + 1}: {counts}")
    return lines


def largest(compared, num_words, limit, found) -> str:
    lines = [
        f"\n{compared.name}, {num_words} words, groups of {compared.group_size}, at most {gib(limit)}",
        "",
        "| side | largest batch that ran | its real tokens | its peak memory | the next |",
        "|---|---|---|---|---|",
    ]
    for side, (fits, last) in found.items():
        after = last.failure if last.failure else "was not tried"
        if fits is None:
            lines.append(f"| {side} | none | | | {after} |")
        else:
            num_queries, outcome = fits
            tokens = f"{outcome.steps[0].tokens:,}"
            lines.append(f"| {side} | {num_queries} queries | {tokens} | {gib(outcome.peak_rss_bytes)} | {after} |")
    return "\n".join([*lines, ""])


def size(compared) -> str:
    return f"{compared.num_rows} texts" if compared.of_texts else f"{compared.num_rows} × {compared.group_size}"


def gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f} GiB"
