//! Pending events without a system behind them, to try strategies on.

use crate::event::{Enabled, EnabledView, EventClass, Names, Pick};
use crate::strategy::{Step, Strategy};

/// Some events, each with its place and key.
#[derive(Debug, Default)]
pub(crate) struct Pending(Vec<(EventClass, usize, u64)>);

impl Pending {
    /// A message for each place from 0, the keys growing with the places.
    pub(crate) fn messages(places: usize) -> Self {
        (0..places).fold(Self::default(), |all, place| {
            all.with(EventClass::Deliver, place, 100 + place as u64)
        })
    }

    pub(crate) fn with(mut self, class: EventClass, place: usize, key: u64) -> Self {
        self.0.push((class, place, key));
        self
    }

    fn of(&self, class: EventClass) -> impl Iterator<Item = (usize, u64)> + '_ {
        let is_of = move |event: &&(EventClass, usize, u64)| event.0 == class;
        self.0.iter().filter(is_of).map(|&(_, place, key)| (place, key))
    }

    pub(crate) fn view(&self) -> EnabledView<'_> {
        EnabledView::new(EventClass::ALL.map(|class| self.of(class).count()), self)
    }

    /// Lets a strategy pick, and tells it that it happened, in the same state as ever; `None` if it ends the run.
    pub(crate) fn pick(&self, strategy: &mut dyn Strategy) -> Option<(EventClass, usize)> {
        let view = self.view();
        let pick = strategy.pick(&view).unwrap()?;
        assert!(view.contains(pick));
        let (class, place) = (pick.class, view.place(pick));
        strategy.observe(&Step { class, place, state: 0, is_new: false });
        Some((class, place))
    }

    /// The places of so many picks in a row, while nothing else changes.
    pub(crate) fn places(&self, strategy: &mut dyn Strategy, picks: usize) -> Vec<usize> {
        (0..picks).filter_map(|_| self.pick(strategy)).map(|(_, place)| place).collect()
    }
}

impl Names for Pending {
    fn name(&self, pick: Pick) -> String {
        format!("{} {}", pick.class, pick.index)
    }

    fn find(&self, _name: &str) -> Option<Pick> {
        None
    }

    fn find_like(&self, _name: &str) -> Option<Pick> {
        None
    }
}

impl Enabled for Pending {
    fn place(&self, pick: Pick) -> usize {
        self.of(pick.class).nth(pick.index).unwrap().0
    }

    fn key(&self, pick: Pick) -> u64 {
        self.of(pick.class).nth(pick.index).unwrap().1
    }

    fn survey(&self, class: EventClass, visit: &mut dyn FnMut(usize, u64)) {
        self.of(class).for_each(|(place, key)| visit(place, key));
    }
}
