//! Shared access signatures: who may do what, as far as keys tell.
//!
//! A token names a resource, an expiry and a key, and is signed with that key (HMAC-SHA256 over
//! resource and expiry). It covers the resource and everything below it, and carries the rights of its
//! key.

use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

/// The name and the key in the connection string of Microsoft's emulator. The key is public.
pub(crate) const DEFAULT_KEY_NAME: &str = "RootManageSharedAccessKey";
pub(crate) const DEFAULT_KEY: &str = "SAS_KEY_VALUE";

/// Which keys are known, and whether they matter.
#[derive(Clone)]
pub(crate) struct KeyRing {
    /// Without this every token passes.
    pub(crate) is_checking: bool,
    pub(crate) keys: Vec<Key>,
}

/// A key of the namespace or of one entity, with what it allows.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) rights: Rights,
    /// Whose key it is; empty for the namespace's.
    pub(crate) path: String,
}

impl Key {
    /// A key that allows everything.
    pub(crate) fn root(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { name: name.into(), key: key.into(), rights: Rights::ALL, path: String::new() }
    }
}

/// What a token allows. Who may manage may do all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// Sending.
    pub send: bool,
    /// Receiving.
    pub listen: bool,
    /// Creating, changing and deleting entities.
    pub manage: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { send: true, listen: true, manage: true };

    /// Whether some right of `other` is among these.
    pub(crate) fn touch(self, other: Self) -> bool {
        self.manage || (self.send && other.send) || (self.listen && other.listen)
    }
}

impl FromStr for Rights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rights = Self::default();
        for word in text.split(',').map(str::trim) {
            match word.to_ascii_lowercase().as_str() {
                "send" => rights.send = true,
                "listen" => rights.listen = true,
                "manage" => rights = Self::ALL,
                _ => return Err(format!("'{word}' is none of Send, Listen and Manage")),
            }
        }
        Ok(rights)
    }
}

/// A token that passed: what it covers, and until when (time since the Unix epoch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) path: String,
    pub(crate) expires_at: Option<Duration>,
    pub(crate) rights: Rights,
}

impl Grant {
    /// Whether the grant covers the entity `path` at `now`.
    pub(crate) fn covers(&self, path: &str, now: Duration) -> bool {
        let is_alive = self.expires_at.is_none_or(|at| at > now);
        is_alive && is_at_or_below(path, &self.path)
    }
}

/// Why a token was refused, in the service's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("MalformedToken: The credentials contained in the token are malformed")]
    Malformed,
    #[error("InvalidSignature: The token has an invalid signature")]
    Signature,
    #[error("ExpiredToken: The token is expired. Expiration time: '{expiry_secs}'")]
    Expired { expiry_secs: u64 },
    #[error("InvalidAudience: The token's audience does not cover the resource '{path}'")]
    Audience { path: String },
    #[error("InvalidToken: The emulator cannot verify this kind of token while it checks keys")]
    Unverifiable,
}

impl KeyRing {
    /// Checks a token that is meant for `path`.
    pub(crate) fn verify(
        &self,
        token: &str,
        path: &str,
        now: Duration,
    ) -> Result<Grant, TokenError> {
        if !self.is_checking {
            let rights = Rights::ALL;
            return Ok(Grant { path: path.to_owned(), expires_at: None, rights });
        }
        let Some(fields) = token.trim().strip_prefix("SharedAccessSignature ") else {
            let is_jwt = token.starts_with("eyJ");
            return Err(if is_jwt { TokenError::Unverifiable } else { TokenError::Malformed });
        };
        let field = |name: &str| {
            let mut pairs = fields.split('&').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or(TokenError::Malformed)
        };
        let (resource, expiry) = (field("sr")?, field("se")?);
        let expiry_secs = expiry.parse::<u64>().map_err(|_| TokenError::Malformed)?;
        let key_name = decode_percent(field("skn")?).ok_or(TokenError::Malformed)?;
        let signature = decode_percent(field("sig")?).ok_or(TokenError::Malformed)?;
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Malformed)?;
        let signed = format!("{resource}\n{expiry}");
        // Of the key of another entity nobody knows here.
        let is_signed_with = |key: &&Key| {
            key.name == key_name
                && is_at_or_below(path, &key.path)
                && is_signature(&key.key, &signed, &signature)
        };
        let Some(key) = self.keys.iter().find(is_signed_with) else {
            return Err(TokenError::Signature);
        };
        let expires_at = Duration::from_secs(expiry_secs);
        if expires_at <= now {
            return Err(TokenError::Expired { expiry_secs });
        }
        let resource = decode_percent(resource).ok_or(TokenError::Malformed)?;
        let (path_of_token, rights) = (entity_path(&resource), key.rights);
        let grant = Grant { path: path_of_token, expires_at: Some(expires_at), rights };
        if !is_at_or_below(path, &grant.path) {
            return Err(TokenError::Audience { path: path.to_owned() });
        }
        // The token may cover more than was asked for; the grant is what was asked for.
        Ok(Grant { path: path.to_owned(), ..grant })
    }

    /// What a key name and key given in the clear (SASL PLAIN) allow.
    pub(crate) fn grant_of(&self, name: &str, key: &str) -> Option<Grant> {
        let grant = |path: &str, rights| Grant { path: path.to_owned(), expires_at: None, rights };
        if !self.is_checking {
            return Some(grant("", Rights::ALL));
        }
        let found = self.keys.iter().find(|known| known.name == name && known.key == key);
        found.map(|key| grant(&key.path, key.rights))
    }
}

/// The entity in an address: without scheme, host, slashes at the ends, and upper case.
///
/// `amqps://localhost:5672/Topic/Subscriptions/A` and `topic/subscriptions/a` are one.
pub(crate) fn entity_path(address: &str) -> String {
    entity_address(address).to_ascii_lowercase()
}

/// As [`entity_path`], with the case as it was.
pub(crate) fn entity_address(address: &str) -> &str {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.split(['?', '#']).next().unwrap_or_default().trim_matches('/')
}

fn is_at_or_below(path: &str, top: &str) -> bool {
    let rest = path.get(..top.len()).filter(|head| head.eq_ignore_ascii_case(top));
    top.is_empty()
        || (rest.is_some() && matches!(path.as_bytes().get(top.len()), None | Some(b'/')))
}

fn decode_percent(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

fn is_signature(key: &str, signed: &str, signature: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key length will do");
    mac.update(signed.as_bytes());
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    pub(crate) fn sign(resource: &str, expiry_secs: u64, name: &str, key: &str) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let resource = encode(resource);
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expiry_secs}").as_bytes());
        let signature = encode(&BASE64.encode(mac.finalize().into_bytes()));
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry_secs}&skn={name}")
    }

    fn key_ring() -> KeyRing {
        KeyRing { is_checking: true, keys: vec![Key::root(DEFAULT_KEY_NAME, DEFAULT_KEY)] }
    }

    #[test]
    fn token_passes_only_with_the_right_key_in_time_for_its_resource() {
        let now = Duration::from_secs(1_000);
        let verify = |token: &str| key_ring().verify(token, "topic/Subscriptions/s", now);
        let good = |resource| sign(resource, 2_000, DEFAULT_KEY_NAME, DEFAULT_KEY);
        for resource in
            ["sb://h/topic", "amqps://h:5671/Topic/subscriptions/S", "http://h/", "sb://h"]
        {
            assert!(verify(&good(resource)).is_ok(), "{resource}");
        }
        let wrong_key = sign("sb://h/topic", 2_000, DEFAULT_KEY_NAME, "wrong");
        assert_eq!(verify(&wrong_key), Err(TokenError::Signature));
        let wrong_name = sign("sb://h/topic", 2_000, "other", DEFAULT_KEY);
        assert_eq!(verify(&wrong_name), Err(TokenError::Signature));
        let expired = sign("sb://h/topic", 1_000, DEFAULT_KEY_NAME, DEFAULT_KEY);
        assert_eq!(verify(&expired), Err(TokenError::Expired { expiry_secs: 1_000 }));
        let elsewhere = good("sb://h/topic2");
        assert!(matches!(verify(&elsewhere), Err(TokenError::Audience { .. })));
        assert!(matches!(verify(&good("sb://h/top")), Err(TokenError::Audience { .. })));
        assert_eq!(verify("eyJhbGciOi"), Err(TokenError::Unverifiable));
        for malformed in ["", "SharedAccessSignature ", "SharedAccessSignature sr=a&se=x&skn=&sig="]
        {
            assert_eq!(verify(malformed), Err(TokenError::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn key_of_an_entity_is_good_for_it_and_what_is_below_alone() {
        let key = Key { path: "topic".to_owned(), ..Key::root("own", "secret") };
        let keys = KeyRing { is_checking: true, keys: vec![key] };
        let token = |resource| sign(resource, 2_000, "own", "secret");
        let now = Duration::from_secs(1_000);
        for path in ["topic", "topic/$management", "topic/subscriptions/s"] {
            assert!(keys.verify(&token("sb://h/topic"), path, now).is_ok(), "{path}");
        }
        for (resource, path) in [("sb://h/topic2", "topic2"), ("sb://h", "topic2"), ("sb://h", "")]
        {
            let refused = keys.verify(&token(resource), path, now);
            assert_eq!(refused, Err(TokenError::Signature), "{path}");
        }
        let plain = keys.grant_of("own", "secret").unwrap();
        assert!(plain.covers("topic", now) && !plain.covers("topic2", now));
        assert_eq!(keys.grant_of("own", "other"), None);
    }

    #[test]
    fn addresses_of_one_entity_have_one_path() {
        for address in [
            "amqps://localhost/T/Subscriptions/s",
            "/t/subscriptions/S/",
            "sb://h:1/t/SUBSCRIPTIONS/s?x=1",
        ] {
            assert_eq!(entity_path(address), "t/subscriptions/s");
        }
        assert_eq!(entity_path("sb://localhost"), "");
    }
}
