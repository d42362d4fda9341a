//! What happens to every message, as one JSON object per line.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::broker::{Event, Happening};
use crate::bus::Bus;

/// Has everything that happens on the bus written to a file.
pub(super) fn write(bus: &Bus, path: &Path) -> io::Result<()> {
    let file = Mutex::new(BufWriter::new(File::create(path)?));
    bus.read_along(move |event| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // Whole lines at once, so that a reader beside us never sees half of one. A full disk ends the
        // trace, not the emulator.
        if let Err(error) = writeln!(file, "{}", line(event)).and_then(|()| file.flush()) {
            tracing::warn!(%error, "the trace has a gap");
        }
    });
    Ok(())
}

fn line(event: &Event) -> Value {
    let mut line = json!({
        "at": event.at.as_secs_f64(),
        "entity": event.entity,
        "event": event.what.name(),
    });
    let number = |sequence_number: &u64| json!(sequence_number);
    let more = match &event.what {
        Happening::Sent { message_id, bytes, copies } => {
            vec![
                ("message_id", json!(message_id)),
                ("bytes", json!(bytes)),
                ("copies", json!(copies)),
            ]
        }
        Happening::Duplicate { message_id } => vec![("message_id", json!(message_id))],
        Happening::Scheduled { sequence_number, until } => {
            vec![
                ("sequence_number", number(sequence_number)),
                ("until", json!(until.as_secs_f64())),
            ]
        }
        Happening::Received { sequence_number, delivery_count, is_locked } => vec![
            ("sequence_number", number(sequence_number)),
            ("delivery_count", json!(delivery_count)),
            ("locked", json!(is_locked)),
        ],
        Happening::DeadLettered { sequence_number, reason } => {
            vec![("sequence_number", number(sequence_number)), ("reason", json!(reason))]
        }
        Happening::Completed { sequence_number }
        | Happening::Abandoned { sequence_number }
        | Happening::Deferred { sequence_number }
        | Happening::Expired { sequence_number } => {
            vec![("sequence_number", number(sequence_number))]
        }
    };
    for (name, value) in more {
        line[name] = value;
    }
    line
}
