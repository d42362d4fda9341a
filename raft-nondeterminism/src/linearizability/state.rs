//! What a register holds, as far as anybody will ever know.
//!
//! Guarantees: two contents have the same [`State`] only if no operation that is still to come can tell
//!             them apart, and content that somebody will still see has a state of its own.
//! Relies on:  every operation of the register being known in advance.
//!
//! A value that no read and no `cas` will ever find again is *dead*: only writes can follow on it, and
//! they do not look. All dead values are one state, and that is what keeps the search small: with
//! unique values, few are awaited at any moment. Lists and strings can also be appended to, so they
//! are dead once nothing that begins with them is awaited; all dead lists are one state, all dead
//! strings another, because what is appended to a dead one gives a dead one.

use std::collections::{BTreeMap, BinaryHeap};

use serde_json::Value;

use super::register::{Action, NULL, Step, ValueId, Values};

/// What a register holds.
pub(super) type State = u32;

/// A value that nobody will see and nothing can be appended to.
const DEAD_SCALAR: State = State::MAX;
/// A list, or nothing yet, such that nobody will see it, however much is appended.
const DEAD_LIST: State = State::MAX - 1;
/// A string such that nobody will see it, however much is appended.
const DEAD_TEXT: State = State::MAX - 2;

/// Until when something matters: the place of an event of the register.
pub(super) type Until = u32;
/// It never ceases to matter.
pub(super) const FOR_EVER: Until = Until::MAX;

/// What can be appended to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Scalar,
    /// Anything; the register that holds nothing yet is one.
    List,
    /// Strings.
    Text,
}

/// The states of one register.
#[derive(Debug)]
pub(super) struct States<'r, 'h> {
    values: &'r Values<'h>,
    /// The state of each value.
    of_value: Vec<State>,
    kinds: Vec<Kind>,
    /// The event after which each state is dead.
    until: Vec<Until>,
    /// The list that a list becomes.
    longer: BTreeMap<(State, ValueId), State>,
    /// The event after which all lists are dead that end with a value.
    until_appended: BTreeMap<ValueId, Until>,
    /// Strings, and what they become.
    texts: Texts<'h>,
    /// The last event at which a write or a `cas` may take effect.
    written_until: Until,
    /// How much was looked at that is not in proportion to the number of calls.
    pub(super) work: u64,
}

impl<'r, 'h> States<'r, 'h> {
    /// `completions` has the place of each step's completion among the events.
    pub(super) fn new(
        values: &'r Values<'h>,
        steps: &[Step],
        completions: &[Option<Until>],
    ) -> Self {
        let has_appends = steps.iter().any(|step| matches!(step.action, Action::Append(_)));
        let count = values.len();
        let mut states = Self {
            values,
            of_value: (0..count as State).collect(),
            kinds: vec![Kind::Scalar; count],
            until: vec![0; count],
            longer: BTreeMap::new(),
            until_appended: BTreeMap::new(),
            texts: Texts::default(),
            written_until: 0,
            work: 0,
        };
        if has_appends {
            states.distinguish_what_grows();
        }
        for (step, completion) in steps.iter().zip(completions) {
            if let Action::Write(_) | Action::Cas { .. } = step.action {
                states.written_until = states.written_until.max(completion.unwrap_or(FOR_EVER));
            }
            if let (Action::Read(seen) | Action::Cas { expected: seen, .. }, Some(completion)) =
                (step.action, completion)
            {
                states.await_until(seen, *completion);
            }
        }
        states.await_what_may_be_compared(steps);
        if has_appends {
            states.await_what_may_grow();
        }
        states
    }

    /// Gives lists and strings, which can be appended to, states that know what they begin with.
    fn distinguish_what_grows(&mut self) {
        let empty = self.add(Kind::List);
        self.kinds[NULL as usize] = Kind::List;
        for value in 0..self.of_value.len() as ValueId {
            if let Some(elements) = self.values.elements(value) {
                let mut list = empty;
                for &element in elements {
                    list = match self.longer.get(&(list, element)) {
                        Some(&longer) => longer,
                        None => {
                            let longer = self.add(Kind::List);
                            self.longer.insert((list, element), longer);
                            longer
                        }
                    };
                }
                self.of_value[value as usize] = list;
            } else if let Value::String(_) = self.values.value(value) {
                self.kinds[value as usize] = Kind::Text;
            }
        }
        // What is appended to nothing is the first of a list.
        let of_nothing: Vec<_> = self
            .longer
            .range((empty, 0)..=(empty, ValueId::MAX))
            .map(|(&(_, element), &list)| ((NULL, element), list))
            .collect();
        self.longer.extend(of_nothing);
    }

    fn add(&mut self, kind: Kind) -> State {
        self.kinds.push(kind);
        self.until.push(0);
        (self.kinds.len() - 1) as State
    }

    fn await_until(&mut self, value: ValueId, until: Until) {
        let state = self.of_value[value as usize] as usize;
        self.until[state] = self.until[state].max(until);
    }

    /// A `cas` that may take effect at any time awaits what it expects for as long as its own value is
    /// awaited, which another one may expect in turn.
    fn await_what_may_be_compared(&mut self, steps: &[Step]) {
        let mut expected_by: BTreeMap<State, Vec<ValueId>> = BTreeMap::new();
        let mut found = BinaryHeap::new();
        for step in steps.iter().filter(|step| step.completed.is_none()) {
            let Action::Cas { expected, value } = step.action else { continue };
            let state = self.of_value[value as usize];
            expected_by.entry(state).or_default().push(expected);
            found.push((self.matters_until(step.action), state));
        }
        // What matters longest comes first, so each state is looked at once.
        while let Some((until, state)) = found.pop() {
            for expected in expected_by.remove(&state).unwrap_or_default() {
                self.await_until(expected, until);
                let state = self.of_value[expected as usize];
                if self.kinds[state as usize] == Kind::Scalar {
                    found.push((self.until[state as usize], state));
                }
            }
        }
    }

    /// Lists and strings are awaited with what they may become. What a `cas` makes of one that can grow
    /// is awaited for ever already, so nothing more follows from that.
    fn await_what_may_grow(&mut self) {
        // A list is numbered before those that it becomes, but for the register without a value.
        let mut longer: Vec<_> =
            self.longer.iter().map(|(&(list, end), &longer)| (longer, list, end)).collect();
        longer.sort_unstable();
        for (longer, list, end) in longer.into_iter().rev() {
            let until = self.until[longer as usize];
            self.until[list as usize] = self.until[list as usize].max(until);
            let appended = self.until_appended.entry(end).or_default();
            *appended = until.max(*appended);
        }
        let values = self.values;
        let texts = (0..values.len() as ValueId).filter_map(|value| match values.value(value) {
            Value::String(text) => Some((text.as_str(), value)),
            _ => None,
        });
        let awaited = texts.clone().map(|(text, state)| (text, self.until[state as usize]));
        self.texts = Texts::new(awaited.collect());
        for (text, state) in texts {
            if let Some(beginning) = self.texts.longer(self.texts.nothing(), text) {
                self.until[state as usize] = self.texts.until(beginning);
                self.texts.insert(beginning, state);
            }
        }
    }

    /// The event after which an operation that nobody waits for can be forgotten, because no order that
    /// contains it explains more than the same order without it.
    ///
    /// Once the value of a write or `cas` is dead and nothing can be appended to it, all that can come
    /// directly after it is a write, which does not look. So whatever an order with it explains, the
    /// order without it does. Where an append only gives dead lists or strings, what comes after it are
    /// writes, and appends that are possible without it too: the list that was there before it takes
    /// them as well, and so does the string.
    pub(super) fn matters_until(&self, action: Action) -> Until {
        match action {
            Action::Read(_) => 0,
            Action::Write(value) | Action::Cas { value, .. } => {
                let state = self.of_value[value as usize] as usize;
                match self.kinds[state] {
                    Kind::Scalar => self.until[state],
                    Kind::List | Kind::Text => FOR_EVER,
                }
            }
            Action::Append(value) => {
                let lists = self.until_appended.get(&value).copied().unwrap_or(0);
                let texts = match self.values.value(value) {
                    Value::String(_) => self.texts.until_any,
                    _ => 0,
                };
                lists.max(texts)
            }
        }
    }

    /// What an action makes of a state, if it is possible there. `event` is under way.
    pub(super) fn apply(&mut self, state: State, action: Action, event: Until) -> Option<State> {
        match action {
            Action::Read(value) => (state == self.of_value[value as usize]).then_some(state),
            Action::Write(value) => Some(self.alive(self.of_value[value as usize], event)),
            Action::Cas { expected, value } => (state == self.of_value[expected as usize])
                .then(|| self.alive(self.of_value[value as usize], event)),
            Action::Append(value) => self.append(state, value, event),
        }
    }

    fn append(&mut self, state: State, value: ValueId, event: Until) -> Option<State> {
        let next = match self.kind(state) {
            Kind::Scalar => return None,
            Kind::List => self.longer.get(&(state, value)).copied().unwrap_or(DEAD_LIST),
            Kind::Text => {
                let Value::String(end) = self.values.value(value) else { return None };
                self.longer_text(state, end)
            }
        };
        Some(self.alive(next, event))
    }

    fn longer_text(&mut self, state: State, end: &str) -> State {
        // Only what is awaited has a beginning.
        let Some(&beginning) = self.texts.beginnings.get(&state) else { return DEAD_TEXT };
        self.work += end.len() as u64 / 16;
        let Some(longer) = self.texts.longer(beginning, end) else { return DEAD_TEXT };
        if let Some(known) = self.texts.state(longer) {
            return known;
        }
        let state = self.add(Kind::Text);
        self.until[state as usize] = self.texts.until(longer);
        self.texts.insert(longer, state);
        state
    }

    /// Whether nobody will see a state, nor any that follows on it.
    pub(super) fn is_dead_for_ever(&self, state: State, event: Until) -> bool {
        self.written_until < event && [DEAD_LIST, DEAD_TEXT].contains(&state)
    }

    fn kind(&self, state: State) -> Kind {
        match state {
            DEAD_SCALAR => Kind::Scalar,
            DEAD_LIST => Kind::List,
            DEAD_TEXT => Kind::Text,
            _ => self.kinds[state as usize],
        }
    }

    /// The state as it is when everything before `event` has happened.
    pub(super) fn alive(&self, state: State, event: Until) -> State {
        match self.until.get(state as usize) {
            Some(until) if *until < event => match self.kinds[state as usize] {
                Kind::Scalar => DEAD_SCALAR,
                Kind::List => DEAD_LIST,
                Kind::Text => DEAD_TEXT,
            },
            _ => state,
        }
    }
}

/// Strings that will be seen, and those of their beginnings that were met. Of a beginning only its place
/// and its length are kept: together, those that one string goes through are much longer than it.
#[derive(Debug, Default)]
struct Texts<'h> {
    /// Sorted.
    awaited: Vec<&'h str>,
    /// The last event that awaits each, as a tree: the second half are the leaves, and each place before
    /// it has the maximum of two that follow.
    until: Vec<Until>,
    /// The last event that awaits any.
    until_any: Until,
    beginnings: BTreeMap<State, Beginning>,
    states: BTreeMap<(usize, usize), State>,
}

/// What some of the awaited strings have in common.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    /// The first of all that begin so.
    from: usize,
    /// The place behind the last.
    to: usize,
    /// In bytes.
    length: usize,
}

impl<'h> Texts<'h> {
    fn new(mut texts: Vec<(&'h str, Until)>) -> Self {
        texts.retain(|(_, until)| *until > 0);
        texts.sort_unstable();
        let count = texts.len();
        let mut until = vec![0; count];
        until.extend(texts.iter().map(|(_, until)| *until));
        for place in (1..count).rev() {
            until[place] = until[2 * place].max(until[2 * place + 1]);
        }
        let until_any = texts.iter().map(|(_, until)| *until).max().unwrap_or(0);
        let awaited = texts.into_iter().map(|(text, _)| text).collect();
        Self { awaited, until, until_any, ..Self::default() }
    }

    /// The beginning of everything.
    fn nothing(&self) -> Beginning {
        Beginning { from: 0, to: self.awaited.len(), length: 0 }
    }

    /// A beginning with something behind it, if anything awaited begins so.
    fn longer(&self, Beginning { from, to, length }: Beginning, end: &str) -> Option<Beginning> {
        let (within, end) = (&self.awaited[from..to], end.as_bytes());
        let rest = |text: &&'h str| -> &'h [u8] { &text.as_bytes()[length..] };
        let first = within.partition_point(|text| rest(text) < end);
        let count = within[first..].partition_point(|text| rest(text).starts_with(end));
        let from = from + first;
        (count > 0).then_some(Beginning { from, to: from + count, length: length + end.len() })
    }

    /// The last event that awaits a string that begins so.
    fn until(&self, Beginning { from, to, .. }: Beginning) -> Until {
        let (mut from, mut to) = (from + self.awaited.len(), to + self.awaited.len());
        let mut last = 0;
        while from < to {
            if from % 2 == 1 {
                last = last.max(self.until[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                last = last.max(self.until[to]);
            }
            (from, to) = (from / 2, to / 2);
        }
        last
    }

    fn state(&self, beginning: Beginning) -> Option<State> {
        self.states.get(&(beginning.from, beginning.length)).copied()
    }

    fn insert(&mut self, beginning: Beginning, state: State) {
        self.states.insert((beginning.from, beginning.length), state);
        self.beginnings.insert(state, beginning);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_awaited_strings_are_known_by_place_and_length() {
        let awaited = vec![("abc", 5), ("ab", 3), ("b", 9), ("never", 0), ("abd", 4)];
        let texts = Texts::new(awaited);
        let beginning = |parts: &[&str]| {
            parts.iter().try_fold(texts.nothing(), |beginning, part| texts.longer(beginning, part))
        };
        let found =
            |parts: &[&str]| beginning(parts).map(|one| (one.from, one.length, texts.until(one)));
        let cases: [(&[&str], _); 9] = [
            (&[], Some((0, 0, 9))),
            (&["a"], Some((0, 1, 5))),
            (&["a", "", "b"], Some((0, 2, 5))),
            (&["ab"], Some((0, 2, 5))),
            (&["ab", "d"], Some((2, 3, 4))),
            (&["ab", "e"], None),
            (&["abc", "d"], None),
            (&["b"], Some((3, 1, 9))),
            (&["never"], None),
        ];
        for (parts, expected) in cases {
            assert_eq!(found(parts), expected, "{parts:?}");
        }
        assert_eq!(texts.until_any, 9);
        assert!(Texts::new(Vec::new()).longer(Texts::default().nothing(), "").is_none());
    }
}
