//! What a run reached: the nearest thing to coverage that needs no instrumented build.

use std::collections::BTreeMap;

use raft_core::codec::{encode_entry, encode_frame};
use raft_core::{Effect, Envelope};

/// Who did what, and what became of it.
pub(crate) type Sight = (&'static str, &'static str, &'static str);

/// What was seen, and how often. With a trace, also every step in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counts: BTreeMap<Sight, u64>,
    trace: Option<Vec<String>>,
    samples: Option<Samples>,
}

/// What servers wrote: something to begin with for those who read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) snapshots: Vec<Vec<u8>>,
}

impl Seen {
    /// Writes every step down.
    pub(crate) fn with_trace() -> Self {
        Self { trace: Some(Vec::new()), ..Self::default() }
    }

    /// Keeps what servers write.
    pub(crate) fn with_samples() -> Self {
        Self { samples: Some(Samples::default()), ..Self::default() }
    }

    /// What was kept.
    pub(crate) fn into_samples(self) -> Samples {
        self.samples.unwrap_or_default()
    }

    pub(crate) fn sample_message(&mut self, envelope: &Envelope) {
        let Some(samples) = &mut self.samples else { return };
        let mut frame = Vec::new();
        if encode_frame(std::slice::from_ref(envelope), &mut frame).is_ok() {
            samples.frames.push(frame);
        }
    }

    pub(crate) fn sample_effect(&mut self, effect: &Effect) {
        let Some(samples) = &mut self.samples else { return };
        match effect {
            Effect::Save(save) => {
                for entry in &save.entries {
                    let mut bytes = Vec::new();
                    if encode_entry(entry, &mut bytes).is_ok() {
                        samples.entries.push(bytes);
                    }
                }
                let snapshot = save.snapshot.as_ref();
                let parts = snapshot.map(|snapshot| snapshot.parts().map(|part| &part[..]));
                samples.snapshots.extend(parts.map(|parts| parts.concat()));
            }
            Effect::Send(envelope) => self.sample_message(envelope),
            _ => {}
        }
    }

    pub(crate) fn note(&mut self, who: &'static str, what: &'static str, outcome: &'static str) {
        *self.counts.entry((who, what, outcome)).or_default() += 1;
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Every step so far.
    pub(crate) fn lines(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }
}
