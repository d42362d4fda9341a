//! Why no action of the specification explains a step.

use std::fmt;

/// An action of the specification, and where the papers describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Restart,
    Timeout,
    RequestVote,
    AppendEntries,
    BecomeLeader,
    StepDown,
    ClientRequest,
    AdvanceCommitIndex,
    UpdateTerm,
    HandleRequestVoteRequest,
    HandleRequestVoteResponse,
    HandleAppendEntriesRequest,
    HandleAppendEntriesResponse,
    Receive,
    Persist,
    Apply,
    RequestPreVote,
    HandlePreVoteRequest,
    TakeSnapshot,
    Compact,
    InstallSnapshot,
    ChangeConfiguration,
    ReadIndex,
    ServeRead,
    GiveUpRead,
    TransferLeadership,
    AnswerClient,
    RunRequest,
    ElectionTimer,
}

impl Action {
    /// Its name in the specification, or in our extension of it, and its source.
    fn describe(self) -> &'static str {
        match self {
            Self::Restart => "Restart (Raft Fig. 2, persistent state)",
            Self::Timeout => "Timeout (Raft §5.2)",
            Self::RequestVote => "RequestVote (Raft §5.2)",
            Self::AppendEntries => "AppendEntries (Raft §5.3)",
            Self::BecomeLeader => "BecomeLeader (Raft §5.2)",
            Self::StepDown => "StepDown (Raft §6; dissertation §6.2)",
            Self::ClientRequest => "ClientRequest (Raft §5.3, Leader Append-Only)",
            Self::AdvanceCommitIndex => "AdvanceCommitIndex (Raft §5.3, §5.4.2)",
            Self::UpdateTerm => "UpdateTerm (Raft §5.1)",
            Self::HandleRequestVoteRequest => "HandleRequestVoteRequest (Raft §5.2, §5.4.1)",
            Self::HandleRequestVoteResponse => "HandleRequestVoteResponse (Raft §5.2)",
            Self::HandleAppendEntriesResponse => "HandleAppendEntriesResponse (Raft §5.3)",
            Self::HandleAppendEntriesRequest => "HandleAppendEntriesRequest (Raft §5.3)",
            Self::Receive => "Receive (of a message that was sent)",
            Self::Persist => "Persist (Raft Fig. 2: updated on stable storage before responding)",
            Self::Apply => "Apply (Raft §5.3, State Machine Safety)",
            Self::RequestPreVote => "RequestPreVote (dissertation §9.6)",
            Self::HandlePreVoteRequest => "HandlePreVoteRequest (dissertation §9.6)",
            Self::TakeSnapshot => "TakeSnapshot (Raft §7)",
            Self::Compact => "Compact (Raft §7)",
            Self::InstallSnapshot => "InstallSnapshot (Raft §7)",
            Self::ChangeConfiguration => "ChangeConfiguration (Raft §6; dissertation §4.3)",
            Self::ReadIndex => "ReadIndex (dissertation §6.4)",
            Self::ServeRead => "ServeRead (dissertation §6.4)",
            Self::GiveUpRead => "GiveUpRead (dissertation §6.4; no read waits for ever)",
            Self::TransferLeadership => "TransferLeadership (dissertation §3.10)",
            Self::AnswerClient => "AnswerClient (Raft §8)",
            Self::RunRequest => "RunRequest (dissertation §6.3)",
            Self::ElectionTimer => "ElectionTimer (Raft §5.2; Fig. 2, rules for followers)",
        }
    }
}

/// A step that an action does not allow: what the server did, and which guard or effect fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    action: Action,
    did: String,
    but: String,
}

impl Broken {
    /// The server `did` something, `but` the action says otherwise.
    #[cold]
    pub(super) fn new(action: Action, did: impl Into<String>, but: impl Into<String>) -> Self {
        Self { action, did: did.into(), but: but.into() }
    }

    /// The action that comes closest.
    #[cfg(test)]
    pub(super) fn action(&self) -> Action {
        self.action
    }
}

/// Reads on after the server's name: `s1 leads term 2, which BecomeLeader (...) does not allow: ...`.
impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, did, but } = self;
        write!(f, "{did}, which {} does not allow: {but}", action.describe())
    }
}
