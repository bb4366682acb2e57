"""TensorBoard's own reader finds every figure of metrics.jsonl in our events."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import runs

# Tag → the figure's name in metrics.jsonl.
TAGS = {
    "loss/total": "loss",
    "optimizer/learning_rate": "learning_rate",
    "optimizer/grad_norm": "grad_norm",
    "speed/tokens_per_sec": "tokens_per_sec",
    "speed/step_secs": "step_secs",
    "speed/goodput": "goodput",
    "speed/input_wait_share": "wait_share",
    "batch/imbalance": "imbalance",
    "batch/false_negatives": "false_negatives",
    "memory/rss_bytes": "rss_bytes",
    "faults/skipped": "skipped",
    "faults/grad_norm_spikes": "grad_norm_spikes",
    "speed/checkpoint_stall_secs": "checkpoint_stall_secs",
}


def test_events(run, compare):
    events = EventAccumulator(str(run.training / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    metrics = runs.read_json_lines(run.training / "metrics.jsonl")
    steps = [line["step"] for line in metrics]
    assert steps == list(range(1, len(steps) + 1))
    terms = {f"loss/{term}" for line in metrics for term, value in line["terms"].items() if value is not None}
    assert len(terms) >= 4
    phases = {f"phase_secs/{phase}" for phase in metrics[0]["phase_secs"]}
    assert set(events.Tags()["scalars"]) == TAGS.keys() | terms | phases
    for tag in phases:
        ours = [line["phase_secs"][tag.removeprefix("phase_secs/")] for line in metrics]
        theirs = [scalar.value for scalar in events.Scalars(tag)]
        compare("TensorBoard: seconds of phases", theirs, ours, 1e-5)
    for tag, name in TAGS.items():
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == steps, tag
        # Events hold 32-bit floats, hence relative differences.
        theirs = [scalar.value for scalar in scalars]
        ours = [line[name] for line in metrics]
        ratios = [a / b if b else 1.0 + a for a, b in zip(theirs, ours)]
        compare("TensorBoard: relative to metrics.jsonl", ratios, [1.0] * len(ours), 1e-6)
    for tag in terms:
        ours = {line["step"]: line["terms"].get(tag.removeprefix("loss/")) for line in metrics}
        ours = {step: value for step, value in ours.items() if value is not None}
        theirs = {scalar.step: scalar.value for scalar in events.Scalars(tag)}
        assert theirs.keys() == ours.keys(), tag
        ratios = [theirs[step] / ours[step] if ours[step] else 1.0 + theirs[step] for step in ours]
        compare("TensorBoard: relative to metrics.jsonl", ratios, [1.0] * len(ours), 1e-6)
