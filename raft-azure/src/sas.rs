//! Shared access signatures: short-lived tokens signed with the key of the connection string.
//!
//! Guarantees: the same key, resource and expiry always give the same token; the clock is the caller's.
//! Source:     <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use crate::connection_string::{Credential, Secret};

/// What stays as it is in a URL-encoded field; everything else becomes `%XX`.
const URL_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A token and the second (since the Unix epoch) after which the service refuses it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: Secret,
    pub(crate) expires_at: u64,
}

/// A token for `resource` that is valid until `expires_at` (seconds since the Unix epoch).
///
/// A ready-made signature is returned as it is, with its own expiry.
pub(crate) fn token(credential: &Credential, resource: &str, expires_at: u64) -> Token {
    match credential {
        Credential::Key { name, key } => {
            Token { text: Secret::new(sign(name, key.expose(), resource, expires_at)), expires_at }
        }
        Credential::Signature(signature) => Token {
            text: signature.clone(),
            expires_at: expiry_of(signature.expose()).unwrap_or(expires_at),
        },
    }
}

/// Signs `resource` and expiry with the key, in the form the service wants.
///
/// The key is used as the bytes of its text; that it looks like base64 does not matter.
fn sign(key_name: &str, key: &str, resource: &str, expires_at: u64) -> String {
    let resource = utf8_percent_encode(resource, URL_ENCODED).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .expect("HMAC-SHA256 takes a key of any length");
    mac.update(format!("{resource}\n{expires_at}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature = utf8_percent_encode(&signature, URL_ENCODED);
    let key_name = utf8_percent_encode(key_name, URL_ENCODED);
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires_at}&skn={key_name}")
}

fn expiry_of(signature: &str) -> Option<u64> {
    let fields = signature.strip_prefix("SharedAccessSignature ")?;
    fields.split('&').find_map(|field| field.strip_prefix("se="))?.parse().ok()
}

/// Text from a broker with every signature blotted out, fit for an error or a log.
pub(crate) fn without_signatures(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("sig=") {
        let (before, after) = rest.split_at(start + "sig=".len());
        clean.push_str(before);
        clean.push_str("<redacted>");
        let is_end = |c: char| c == '&' || c.is_whitespace() || matches!(c, '\'' | '"' | ',' | ';');
        rest = after.find(is_end).map_or("", |end| &after[end..]);
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python: `hmac.new(key, f"{quote(uri, safe='')}\n{se}".encode(), sha256)`.
    #[test]
    fn known_answers() {
        let table = [
            (
                (
                    "RootManageSharedAccessKey",
                    "SAS_KEY_VALUE",
                    "sb://localhost/rafttopic",
                    1_700_000_000,
                ),
                KNOWN[0],
            ),
            (
                (
                    "a b&c",
                    "c2VjcmV0/+=",
                    "https://ns.servicebus.windows.net/t/Subscriptions/server-1",
                    0,
                ),
                KNOWN[1],
            ),
        ];
        for ((name, key, resource, expires_at), expected) in table {
            assert_eq!(sign(name, key, resource, expires_at), expected);
        }
    }

    const KNOWN: [&str; 2] = [
        "SharedAccessSignature sr=sb%3A%2F%2Flocalhost%2Frafttopic&sig=LL%2Fji%2BJu6d9VXqW8j%2FLHuByCKN5Iwh9oECRVReL7ma8%3D&se=1700000000&skn=RootManageSharedAccessKey",
        "SharedAccessSignature sr=https%3A%2F%2Fns.servicebus.windows.net%2Ft%2FSubscriptions%2Fserver-1&sig=gA9iRDTMaRXBWP2ewdetQ1wfdLDuKTFTZ0xlhsSCbtY%3D&se=0&skn=a%20b%26c",
    ];

    #[test]
    fn a_ready_made_signature_keeps_its_own_expiry() {
        let text = "SharedAccessSignature sr=x&sig=y&se=1234&skn=n";
        let token = token(&Credential::Signature(Secret::new(text)), "ignored", 99);
        assert_eq!(token.text.expose(), text);
        assert_eq!(token.expires_at, 1234);
    }

    #[test]
    fn debug_of_a_token_shows_no_signature() {
        let credential = Credential::Key { name: "n".into(), key: Secret::new("k") };
        let token = token(&credential, "sb://h/t", 1);
        assert!(!format!("{token:?}").contains("sig="));
    }

    #[test]
    fn signatures_are_blotted_out() {
        let table = [
            ("nothing here", "nothing here"),
            ("bad token sig=abc%3D&se=1", "bad token sig=<redacted>&se=1"),
            ("'sig=abc' and sig=def", "'sig=<redacted>' and sig=<redacted>"),
        ];
        for (text, expected) in table {
            assert_eq!(without_signatures(text), expected);
        }
    }
}
