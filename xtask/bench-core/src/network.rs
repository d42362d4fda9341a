//! The network of the clusters in one thread: a queue, the same for every engine.

use std::collections::VecDeque;

/// Messages under way between servers, which are named by their places.
#[derive(Debug)]
pub struct Network<M> {
    messages: VecDeque<(usize, M)>,
    cut_off: Option<usize>,
}

impl<M> Default for Network<M> {
    fn default() -> Self {
        Self { messages: VecDeque::new(), cut_off: None }
    }
}

impl<M> Network<M> {
    /// Takes a message, and loses it if one of the two is cut off.
    pub fn send(&mut self, from: usize, to: usize, message: M) {
        if !self.is_cut_off(from) && !self.is_cut_off(to) {
            self.messages.push_back((to, message));
        }
    }

    /// The oldest message under way, and whom it is for.
    pub fn receive(&mut self) -> Option<(usize, M)> {
        self.messages.pop_front()
    }

    /// Loses everything to and from this server from now on, and nothing of the others.
    pub fn cut_off(&mut self, server: Option<usize>) {
        self.cut_off = server;
    }

    /// True for the server that is cut off.
    pub fn is_cut_off(&self, server: usize) -> bool {
        self.cut_off == Some(server)
    }
}
