//! What a GPU did when: moments in its work, and the seconds between them by phase.
//!
//! A host asks a GPU for work and goes on, so what it measures by its own clock is how long asking took. Here a moment
//! is marked in the GPU's stream wherever the host changes its phase. The moments are read later, when the GPU has come
//! to them, so nobody waits for anybody. A stretch that is not over when seconds are asked for is counted the next
//! time. At the end of a step that is mostly its update.

use std::collections::VecDeque;

/// Moments of the type `M` in their order, each of which begins a stretch, in a phase `P`, that the next one ends.
pub(super) struct Timeline<M, P> {
    marks: VecDeque<(M, Option<P>)>,
    /// The number of marks, the last ones, that were made since seconds were last asked for.
    num_new: usize,
}

impl<M, P> Timeline<M, P> {
    pub fn new() -> Self {
        Self { marks: VecDeque::new(), num_new: 0 }
    }

    /// A stretch in `phase` begins with `moment`, which ends the one before.
    pub fn begin(&mut self, moment: M, phase: P) {
        self.marks.push_back((moment, Some(phase)));
        self.num_new += 1;
    }

    /// Stretches that began since seconds were last asked for do not count, up to the one that begins next.
    pub fn leave_out_new(&mut self) {
        self.marks.iter_mut().rev().take(self.num_new).for_each(|(_, phase)| *phase = None);
    }

    /// Calls `add` with the phase and the seconds of each stretch that is over and was not yet counted. Returns the
    /// moments that are no longer needed.
    pub fn take(
        &mut self,
        is_over: impl Fn(&M) -> bool,
        secs: impl Fn(&M, &M) -> f64,
        mut add: impl FnMut(P, f64),
    ) -> Vec<M> {
        let mut done = Vec::new();
        while self.marks.get(1).is_some_and(|(end, _)| is_over(end)) {
            let Some((begin, phase)) = self.marks.pop_front() else { break };
            if let (Some(phase), Some((end, _))) = (phase, self.marks.front()) {
                add(phase, secs(&begin, end));
            }
            done.push(begin);
        }
        // The stretch that goes on is new: it may be left out.
        self.num_new = 1;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARD: usize = 0;
    const BACKWARD: usize = 1;
    const REDUCE: usize = 2;
    const OTHER: usize = 3;

    /// The first three phases. Moments are times in seconds; the GPU has come to `now`.
    fn take(timeline: &mut Timeline<f64, usize>, now: f64) -> [f64; 3] {
        let mut sums = [0.0; 4];
        timeline.take(|moment| *moment <= now, |from, to| to - from, |phase, secs| sums[phase] += secs);
        [sums[FORWARD], sums[BACKWARD], sums[REDUCE]]
    }

    #[test]
    fn stretches_count_once_when_they_are_over_and_what_is_within_another_is_not_its() {
        let mut timeline = Timeline::new();
        for (moment, phase) in [(0.0, FORWARD), (1.0, BACKWARD), (3.0, REDUCE), (3.5, BACKWARD), (5.0, OTHER)] {
            timeline.begin(moment, phase);
        }
        assert_eq!(take(&mut timeline, 3.2), [1.0, 2.0, 0.0]);
        assert_eq!(take(&mut timeline, 3.5), [0.0, 0.0, 0.5]);
        assert_eq!(take(&mut timeline, 9.0), [0.0, 1.5, 0.0]);
        assert_eq!(take(&mut timeline, 9.0), [0.0; 3]);
    }

    #[test]
    fn what_lies_between_two_steps_is_left_out_and_what_was_not_over_is_not() {
        let mut timeline = Timeline::new();
        timeline.begin(0.0, FORWARD);
        timeline.begin(2.0, OTHER);
        // The step ends before the GPU has come to its end.
        assert_eq!(take(&mut timeline, 1.0), [0.0; 3]);
        timeline.begin(7.0, BACKWARD);
        timeline.leave_out_new();
        timeline.begin(8.0, FORWARD);
        timeline.begin(9.0, OTHER);
        assert_eq!(take(&mut timeline, 20.0), [3.0, 0.0, 0.0]);
    }
}
