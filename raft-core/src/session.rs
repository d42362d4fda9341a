//! Which requests of each client were applied (dissertation §6.3).
//!
//! A client that hears nothing asks again, perhaps another leader, and the log may then hold its
//! request twice. Every server skips the second copy, and finds the answer of the first here.
//!
//! Guarantees: of the requests with one client id and sequence number, one is applied; and since
//!             this follows from the log alone, it is the same one on every server.
//! Relies on:  a client numbering its requests upwards, and sending one at a time.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::message::{ClientRequest, ClientResult};
use crate::types::{ClientId, LogId, SequenceNumber};

/// The sessions of all clients that ever had a command committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    clients: BTreeMap<ClientId, Session>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    /// The last request handed to the state machine.
    started: SequenceNumber,
    /// The last request applied, where it stands, and what was answered.
    finished: Option<(SequenceNumber, LogId, Bytes)>,
}

/// What the sessions know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never committed, as far as this server knows.
    New,
    /// Handed to the state machine, which has not answered yet.
    Started,
    /// Done: this is the answer.
    Finished(ClientResult),
}

impl Sessions {
    /// What is known of this request.
    pub(crate) fn look_up(&self, request: &ClientRequest) -> Known {
        let Some(session) = self.clients.get(&request.client_id) else { return Known::New };
        if request.sequence_number > session.started {
            return Known::New;
        }
        match &session.finished {
            Some((number, log_id, response)) if *number == request.sequence_number => {
                let (log_id, response) = (*log_id, response.clone());
                Known::Finished(ClientResult::Applied { log_id, response })
            }
            _ if request.sequence_number == session.started => Known::Started,
            _ => Known::Finished(ClientResult::Superseded),
        }
    }

    /// A request is about to be handed to the state machine. False if it, or a later one of its
    /// client, was before: then it must be skipped.
    pub(crate) fn start(&mut self, request: &ClientRequest) -> bool {
        let number = request.sequence_number;
        match self.clients.get_mut(&request.client_id) {
            None => {
                let session = Session { started: number, finished: None };
                self.clients.insert(request.client_id, session);
                true
            }
            Some(session) if number > session.started => {
                session.started = number;
                true
            }
            Some(_) => false,
        }
    }

    /// The state machine answered a request that was started.
    pub(crate) fn finish(
        &mut self,
        client_id: ClientId,
        sequence_number: SequenceNumber,
        log_id: LogId,
        response: Bytes,
    ) {
        let session = self.clients.get_mut(&client_id);
        let session = session.expect("a request starts before it finishes");
        session.finished = Some((sequence_number, log_id, response));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, Term};

    fn request(client: u64, number: u64) -> ClientRequest {
        ClientRequest {
            client_id: ClientId(client),
            sequence_number: SequenceNumber(number),
            command: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn a_request_is_new_then_started_then_finished_then_superseded() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.look_up(&request(1, 1)), Known::New);
        assert!(sessions.start(&request(1, 1)));
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Started);
        let log_id = LogId::new(Term(2), Index(7));
        sessions.finish(ClientId(1), SequenceNumber(1), log_id, Bytes::from_static(b"done"));
        let applied = ClientResult::Applied { log_id, response: Bytes::from_static(b"done") };
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Finished(applied));
        assert!(sessions.start(&request(1, 2)));
        assert_eq!(sessions.look_up(&request(1, 2)), Known::Started);
        // Its answer is still kept, but one that was never answered is given up for the later one.
        assert!(matches!(sessions.look_up(&request(1, 1)), Known::Finished(_)));
        assert_eq!(sessions.look_up(&request(1, 0)), Known::Finished(ClientResult::Superseded));
        sessions.finish(ClientId(1), SequenceNumber(2), log_id, Bytes::new());
        assert_eq!(sessions.look_up(&request(1, 1)), Known::Finished(ClientResult::Superseded));
    }

    #[test]
    fn a_second_copy_is_skipped() {
        let mut sessions = Sessions::default();
        assert!(sessions.start(&request(1, 1)));
        assert!(!sessions.start(&request(1, 1)));
        assert!(sessions.start(&request(1, 4)), "numbers may be skipped");
        assert!(!sessions.start(&request(1, 3)), "but never go back");
    }

    #[test]
    fn two_clients_may_use_the_same_number() {
        let mut sessions = Sessions::default();
        assert!(sessions.start(&request(1, 1)));
        assert!(sessions.start(&request(2, 1)));
    }
}
