//! Coverage guidance: starts again from where something new was seen.
//!
//! Guarantees: the corpus does not change while an epoch runs; a copy of the strategy shares it.
//!
//! A run that visited new abstract states, or reached a goal that few reach, is kept. Most runs repeat one
//! of these up to about where it became interesting, and go on at random; some leave out or repeat a
//! stretch, or go over to another one.

use std::sync::Arc;

use super::{Lesson, NotReproducible, Step, Strategy, Swarm};
use crate::event::{EnabledView, Pick};
use crate::oracle::Choice;
use crate::rng::{Rng, mixed};

/// How many runs are kept.
const CORPUS_MAX: usize = 256;
/// How many moments of a run are remembered at which something new was seen.
const MOMENTS_MAX: usize = 16;
/// One run in so many starts afresh.
const FRESH: usize = 3;

/// Keeps what reached something new, and varies it.
#[derive(Clone, Debug)]
pub struct CoverageGuided {
    corpus: Arc<Corpus>,
    rng: Rng,
    /// Who goes on where the tape ends.
    random: Swarm,
    /// What this run repeats: stretches of kept tapes, the next one last.
    stretches: Vec<Stretch>,
    step: u64,
    moments: Vec<u64>,
}

/// What is known.
#[derive(Clone, Debug, Default)]
struct Corpus {
    entries: Vec<Arc<Entry>>,
    /// The sum of the energies.
    energy: u64,
    /// How many runs reached each goal.
    goals: Vec<u64>,
    /// Which entry makes room for the next one.
    oldest: usize,
}

/// A run worth going on from.
#[derive(Clone, Debug)]
struct Entry {
    tape: Vec<Choice>,
    /// After how many choices something new was seen.
    moments: Vec<u64>,
    /// How likely it is to be chosen, compared to others.
    energy: u64,
}

/// A part of a kept tape, half-open.
#[derive(Clone, Debug)]
struct Stretch {
    entry: Arc<Entry>,
    next: usize,
    end: usize,
}

impl CoverageGuided {
    /// A strategy that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            corpus: Arc::default(),
            rng: Rng::new(0),
            random: Swarm::new(),
            stretches: Vec::new(),
            step: 0,
            moments: Vec::new(),
        }
    }

    /// An entry by energy.
    fn draw(&mut self) -> Option<Arc<Entry>> {
        let mut ticket = match self.corpus.energy {
            0 => return None,
            energy => self.rng.below(energy as usize) as u64,
        };
        for entry in &self.corpus.entries {
            if ticket < entry.energy {
                return Some(Arc::clone(entry));
            }
            ticket -= entry.energy;
        }
        None
    }

    /// Decides what this run repeats.
    fn plan(&mut self) {
        self.stretches.clear();
        if self.rng.below(FRESH) == 0 {
            return;
        }
        let Some(entry) = self.draw() else { return };
        let moment = match entry.moments.len() {
            0 => entry.tape.len(),
            moments => entry.moments[self.rng.below(moments)] as usize,
        };
        let end = moment.min(entry.tape.len());
        let stretch = |entry: &Arc<Entry>, next, end| Stretch { entry: entry.clone(), next, end };
        let cut = if end == 0 { 0 } else { self.rng.below(end) };
        let length = 1 + self.rng.below(20);
        match self.rng.below(8) {
            // Leave out a stretch.
            0 => {
                self.stretches.push(stretch(&entry, (cut + length).min(end), end));
                self.stretches.push(stretch(&entry, 0, cut));
            }
            // Repeat a stretch.
            1 => {
                self.stretches.push(stretch(&entry, cut, end));
                self.stretches.push(stretch(&entry, 0, (cut + length).min(end)));
            }
            // Go over to another run.
            2 => {
                if let Some(other) = self.draw() {
                    let from = cut.min(other.tape.len());
                    self.stretches.push(stretch(&other, from, other.tape.len()));
                }
                self.stretches.push(stretch(&entry, 0, cut));
            }
            // Go on at random from somewhere before it.
            3 => self.stretches.push(stretch(&entry, 0, cut)),
            _ => self.stretches.push(stretch(&entry, 0, end)),
        }
    }

    /// The next choice of what is repeated.
    fn next(&mut self) -> Option<Choice> {
        loop {
            let stretch = self.stretches.last_mut()?;
            if stretch.next < stretch.end {
                stretch.next += 1;
                return Some(stretch.entry.tape[stretch.next - 1]);
            }
            self.stretches.pop();
        }
    }
}

impl Default for CoverageGuided {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for CoverageGuided {
    fn begin(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
        self.random.begin(mixed(seed));
        self.moments.clear();
        self.step = 0;
        self.plan();
    }

    fn pick(&mut self, enabled: &EnabledView<'_>) -> Result<Option<Pick>, NotReproducible> {
        self.step += 1;
        while let Some(choice) = self.next() {
            let Choice::Event { pick: Pick { class, index }, .. } = choice else { continue };
            let count = enabled.count(class);
            if count > 0 {
                return Ok(Some(Pick { class, index: index.min(count - 1) }));
            }
        }
        self.random.pick(enabled)
    }

    fn choose(&mut self, arity: usize, wanted: &str) -> Result<usize, NotReproducible> {
        self.step += 1;
        if let Some(stretch) = self.stretches.last() {
            let next = stretch.entry.tape[..stretch.end].get(stretch.next);
            if let Some(&Choice::Value { label, value, .. }) = next
                && label == wanted
            {
                self.next();
                return Ok(value.min(arity - 1));
            }
        }
        self.random.choose(arity, wanted)
    }

    fn observe(&mut self, step: &Step) {
        self.random.observe(step);
        if step.is_new {
            // The last ones are the deepest.
            if self.moments.len() == MOMENTS_MAX {
                self.moments.remove(0);
            }
            self.moments.push(self.step);
        }
    }

    fn notes(&mut self) -> Vec<u64> {
        self.moments.clone()
    }

    fn learn(&mut self, lesson: &Lesson<'_>) {
        let corpus = Arc::make_mut(&mut self.corpus);
        corpus.goals.resize(64, 0);
        let mut rarity = 0;
        for (goal, count) in corpus.goals.iter_mut().enumerate() {
            if lesson.goals >> goal & 1 == 1 {
                *count += 1;
                // One in a hundred runs is rare, if there were some.
                rarity = rarity.max((lesson.iteration + 1) / (*count * 16).max(1));
            }
        }
        if lesson.is_buggy || lesson.new_states == 0 {
            return;
        }
        let energy = 1 + lesson.new_states.min(16) + rarity.min(64);
        // What is old was tried often.
        if lesson.iteration.is_multiple_of(32) {
            for entry in &mut corpus.entries {
                let entry = Arc::make_mut(entry);
                entry.energy = (entry.energy * 7 / 8).max(1);
            }
        }
        let (tape, moments) = (lesson.tape.to_vec(), lesson.notes.to_vec());
        let entry = Arc::new(Entry { tape, moments, energy });
        if corpus.entries.len() < CORPUS_MAX {
            corpus.entries.push(entry);
        } else {
            corpus.entries[corpus.oldest] = entry;
            corpus.oldest = (corpus.oldest + 1) % CORPUS_MAX;
        }
        corpus.energy = corpus.entries.iter().map(|entry| entry.energy).sum();
    }

    fn describe(&self) -> String {
        "coverage".to_owned()
    }
}
