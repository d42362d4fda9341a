//! What nobody can ask of the service: faults, idle links, expired tokens and the bill, over HTTP.
//!
//! Guarantees: a request that is wrong changes nothing and says why. No token is wanted: whoever
//! reaches the loopback address may do it.
//!
//! | Request | What it does |
//! | --- | --- |
//! | `GET /$emulator` | what goes wrong, how often it did, and the bill |
//! | `GET /$emulator/bill` | the bill, by entity and kind |
//! | `PUT /$emulator/faults` | what goes wrong from now on, see [`faults_of`] |
//! | `DELETE /$emulator/faults` | nothing goes wrong from now on |
//! | `POST /$emulator/drop-connections` | a broker blip: every connection is cut |
//! | `POST /$emulator/refuse-connections` | new connections are closed; `DELETE` ends it |
//! | `POST /$emulator/detach-links` | every link is detached as if it had been idle |
//! | `POST /$emulator/expire-tokens` | every token expires now |

use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::listener::{Control, Host};
use crate::broker::{FaultCounts, Faults, Meter};

/// Where the control API is.
const PREFIX: &str = "/$emulator";

/// What follows the prefix in a path of this API.
pub(super) fn rest_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PREFIX).or_else(|| path.strip_prefix("/%24emulator"))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/'))
}

/// Handles a request.
pub(super) fn handle(host: &Host, method: &Method, rest: &str, body: &[u8]) -> (StatusCode, Value) {
    let tell = |change: fn(&mut Control)| {
        host.control.send_modify(change);
        Value::Null
    };
    let refuse = |is_refusing| {
        host.faults.is_refusing.store(is_refusing, Ordering::Relaxed);
        Value::Null
    };
    let done = match (method.as_str(), rest) {
        ("GET", "") => state(host),
        ("GET", "bill") => bill(&host.bus.meter()),
        ("PUT", "faults") => match faults_of(body) {
            Ok(faults) => {
                host.bus.with_broker(|broker, _| broker.set_faults(faults));
                Value::Null
            }
            Err(error) => return (StatusCode::BAD_REQUEST, json!({ "error": error })),
        },
        ("DELETE", "faults") => {
            host.bus.with_broker(|broker, _| broker.set_faults(Faults::default()));
            Value::Null
        }
        ("POST", "drop-connections") => tell(|control| control.blips += 1),
        ("POST", "detach-links") => tell(|control| control.detaches += 1),
        ("POST", "expire-tokens") => tell(|control| control.expiries += 1),
        ("POST", "refuse-connections") => refuse(true),
        ("DELETE", "refuse-connections") => refuse(false),
        _ => {
            let error = format!("there is no {method} {PREFIX}/{rest}");
            return (StatusCode::NOT_FOUND, json!({ "error": error }));
        }
    };
    (StatusCode::OK, done)
}

fn state(host: &Host) -> Value {
    let (faults, counts) =
        host.bus.with_broker(|broker, _| (broker.faults().clone(), broker.fault_counts()));
    let told = *host.control.borrow();
    let FaultCounts { dropped, duplicated, delayed, reordered, throttled, held_back, .. } = counts;
    json!({
        "faults": {
            "drop": faults.drop,
            "duplicate": faults.duplicate,
            "reorder": faults.reorder,
            "latency_ms": [millis(faults.delay_range.start), millis(faults.delay_range.end)],
            "throttle": faults.credits_per_second,
            "busy": faults.is_busy,
            "full": faults.is_full,
        },
        "counts": {
            "dropped": dropped,
            "duplicated": duplicated,
            "delayed": delayed,
            "reordered": reordered,
            "throttled": throttled,
            "held_back": held_back,
            "blips": told.blips,
            "detaches": told.detaches,
            "expiries": told.expiries,
            "connections_cut": host.faults.cut.load(Ordering::Relaxed),
            "connections_refused": host.faults.refused.load(Ordering::Relaxed),
        },
        "bill": bill(&host.bus.meter()),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The bill as JSON: what was counted, and what it would cost.
pub(super) fn bill(meter: &Meter) -> Value {
    let rows: Vec<_> = meter
        .rows()
        .map(|(entity, kind, tally)| {
            json!({
                "entity": entity,
                "kind": kind.to_string(),
                "calls": tally.calls,
                "operations": tally.operations,
                "bytes": tally.bytes,
            })
        })
        .collect();
    json!({
        "operations": meter.operations(),
        "credits": meter.credits(),
        "filter_evaluations": meter.filter_evaluations(),
        "usd_beyond_the_included_operations": meter.marginal_usd(),
        "rows": rows,
    })
}

/// Reads what is to go wrong: `drop`, `duplicate` and `reorder` are shares from 0 to 1, `latency_ms` a
/// number or a range of two, `throttle` is `"standard"` or credits per second, `busy` and `full` are
/// true or false. What is left out does not go wrong.
pub(super) fn faults_of(body: &[u8]) -> Result<Faults, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("this is no JSON: {error}"))?;
    let Value::Object(fields) = value else { return Err("this is no JSON object".to_owned()) };
    let mut faults = Faults::default();
    for (name, value) in &fields {
        let wrong = |expected: &str| format!("'{name}' is {value}, expected {expected}");
        let share = || {
            let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| wrong("a number from 0 to 1"))
        };
        let truth = || value.as_bool().ok_or_else(|| wrong("true or false"));
        match name.as_str() {
            "drop" => faults.drop = share()?,
            "duplicate" => faults.duplicate = share()?,
            "reorder" => faults.reorder = share()?,
            "busy" => faults.is_busy = truth()?,
            "full" => faults.is_full = truth()?,
            "latency_ms" => {
                let ends = match value {
                    Value::Array(ends) => ends.iter().map(Value::as_u64).collect(),
                    single => vec![single.as_u64(), single.as_u64()],
                };
                let [Some(start), Some(end)] = ends[..] else {
                    return Err(wrong("milliseconds, or a range of two"));
                };
                if end < start {
                    return Err(wrong("a range that ends after it begins"));
                }
                faults.delay = 1.0;
                faults.delay_range = Duration::from_millis(start)..Duration::from_millis(end);
            }
            "throttle" => {
                faults.credits_per_second = match value {
                    Value::Null => None,
                    Value::String(tier) if tier == "standard" => {
                        Some(Faults::STANDARD_CREDITS_PER_SECOND)
                    }
                    other => {
                        let credits = other.as_u64().filter(|credits| *credits > 0);
                        Some(credits.ok_or_else(|| wrong("\"standard\" or credits per second"))?)
                    }
                };
            }
            other => return Err(format!("there is no fault '{other}'")),
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_whole_or_refused_with_a_reason() {
        let text = br#"{"drop": 0.5, "reorder": 1, "latency_ms": [5, 50], "throttle": "standard"}"#;
        let expected = Faults {
            drop: 0.5,
            reorder: 1.0,
            delay: 1.0,
            delay_range: Duration::from_millis(5)..Duration::from_millis(50),
            credits_per_second: Some(1_000),
            ..Faults::default()
        };
        assert_eq!(faults_of(text), Ok(expected));
        for (text, reason) in [
            ("", "no JSON"),
            ("[]", "no JSON object"),
            (r#"{"drop": 2}"#, "from 0 to 1"),
            (r#"{"drop": "x"}"#, "from 0 to 1"),
            (r#"{"busy": 1}"#, "true or false"),
            (r#"{"latency_ms": [9, 5]}"#, "ends after"),
            (r#"{"latency_ms": [9]}"#, "a range of two"),
            (r#"{"throttle": "premium"}"#, "standard"),
            (r#"{"dorp": 1}"#, "no fault 'dorp'"),
        ] {
            let error = faults_of(text.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
