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

use std::collections::BTreeMap;

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
    has_appends: bool,
    /// The state of each value.
    of_value: Vec<State>,
    kinds: Vec<Kind>,
    /// The event after which each state is dead.
    until: Vec<Until>,
    /// The list that a list becomes.
    longer: BTreeMap<(State, ValueId), State>,
    /// Strings that were observed or put together, and their states.
    texts: BTreeMap<String, State>,
    text_of: BTreeMap<State, String>,
    /// The string that a string becomes, as far as anybody asked.
    longer_texts: BTreeMap<(State, ValueId), State>,
    /// The strings that are awaited.
    awaited_texts: AwaitedTexts,
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
            has_appends,
            of_value: (0..count as State).collect(),
            kinds: vec![Kind::Scalar; count],
            until: vec![0; count],
            longer: BTreeMap::new(),
            texts: BTreeMap::new(),
            text_of: BTreeMap::new(),
            longer_texts: BTreeMap::new(),
            awaited_texts: AwaitedTexts::default(),
        };
        if has_appends {
            states.distinguish_what_grows();
        }
        for (step, completion) in steps.iter().zip(completions) {
            if let (Action::Read(seen) | Action::Cas { expected: seen, .. }, Some(completion)) =
                (step.action, completion)
            {
                states.await_until(seen, *completion);
            }
        }
        states.await_what_may_be_compared(steps);
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
            } else if let Value::String(text) = self.values.value(value) {
                self.kinds[value as usize] = Kind::Text;
                self.texts.insert(text.clone(), value);
                self.text_of.insert(value, text.clone());
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
    /// awaited, which another one may expect in turn; and a list is awaited with what it may become.
    fn await_what_may_be_compared(&mut self, steps: &[Step]) {
        let mut open: Vec<_> = steps.iter().filter(|step| step.completed.is_none()).collect();
        open.retain(|step| matches!(step.action, Action::Cas { .. }));
        loop {
            self.await_what_may_grow();
            let mut has_changed = false;
            for step in &open {
                let Action::Cas { expected, .. } = step.action else { continue };
                let (until, state) =
                    (self.matters_until(step.action), self.of_value[expected as usize]);
                if self.until[state as usize] < until {
                    self.until[state as usize] = until;
                    has_changed = true;
                }
            }
            if !has_changed {
                return;
            }
        }
    }

    fn await_what_may_grow(&mut self) {
        if !self.has_appends {
            return;
        }
        // A list is numbered before those that it becomes, but for the register without a value.
        let mut longer: Vec<_> =
            self.longer.iter().map(|(&(list, _), &longer)| (longer, list)).collect();
        longer.sort_unstable();
        for (longer, list) in longer.into_iter().rev() {
            self.until[list as usize] = self.until[list as usize].max(self.until[longer as usize]);
        }
        let awaited =
            self.texts.iter().map(|(text, &state)| (text.clone(), self.until[state as usize]));
        self.awaited_texts = AwaitedTexts::new(awaited.collect());
        for (text, &state) in &self.texts {
            let until = self.awaited_texts.until(text);
            self.until[state as usize] = self.until[state as usize].max(until);
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
                let lists = self.longer.iter().filter(|((_, element), _)| *element == value);
                let lists = lists.map(|(_, &list)| self.until[list as usize]).max().unwrap_or(0);
                let texts = match self.values.value(value) {
                    Value::String(_) => self.awaited_texts.until(""),
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
                self.longer_text(state, value, end)
            }
        };
        Some(self.alive(next, event))
    }

    fn longer_text(&mut self, state: State, value: ValueId, end: &str) -> State {
        if state == DEAD_TEXT {
            return DEAD_TEXT;
        }
        if let Some(&known) = self.longer_texts.get(&(state, value)) {
            return known;
        }
        let text = self.text_of.get(&state).expect("a state of a string has one").clone() + end;
        let until = self.awaited_texts.until(&text);
        let longer = match self.texts.get(&text) {
            Some(&known) => known,
            None if until == 0 => DEAD_TEXT,
            None => {
                let state = self.add(Kind::Text);
                self.until[state as usize] = until;
                self.texts.insert(text.clone(), state);
                self.text_of.insert(state, text);
                state
            }
        };
        self.longer_texts.insert((state, value), longer);
        longer
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

/// Strings that will be seen, to find those that begin with another one.
#[derive(Debug, Default)]
struct AwaitedTexts {
    /// Sorted, each with the last event that awaits it or one that begins with it, and with the place
    /// behind those.
    texts: Vec<(String, Until, usize)>,
}

impl AwaitedTexts {
    fn new(mut texts: Vec<(String, Until)>) -> Self {
        texts.retain(|(_, until)| *until > 0);
        texts.sort_unstable();
        let mut sorted: Vec<_> = texts.into_iter().map(|(text, until)| (text, until, 0)).collect();
        // From the end, so that what begins with a text is known when its turn comes.
        for place in (0..sorted.len()).rev() {
            let (mut end, mut until) = (place + 1, sorted[place].1);
            while end < sorted.len() && sorted[end].0.starts_with(&sorted[place].0) {
                until = until.max(sorted[end].1);
                end = sorted[end].2;
            }
            sorted[place].1 = until;
            sorted[place].2 = end;
        }
        Self { texts: sorted }
    }

    /// The last event that awaits a string that begins so; zero if there is none.
    fn until(&self, beginning: &str) -> Until {
        let mut place = self.texts.partition_point(|(text, ..)| text.as_str() < beginning);
        let mut last = 0;
        while let Some((text, until, end)) = self.texts.get(place)
            && text.starts_with(beginning)
        {
            last = last.max(*until);
            place = *end;
        }
        last
    }
}
