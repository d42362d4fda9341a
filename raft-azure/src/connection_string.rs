//! The connection string: one line of text that says where the namespace is and how to prove who asks.
//!
//! Guarantees: parsing never panics; neither an error nor `Debug` nor `Display` ever shows a secret.
//! Elsewhere:  tokens made from the key are in `sas`.

use std::fmt;
use std::str::FromStr;

/// Port of AMQP over TLS on a real namespace.
const AMQPS_PORT: u16 = 5671;
/// Port of AMQP without TLS, as Microsoft's emulator and ours use by default.
const AMQP_PORT: u16 = 5672;
/// Port of the management API on a real namespace.
const HTTPS_PORT: u16 = 443;
/// Port of the management API of Microsoft's emulator.
const EMULATOR_HTTP_PORT: u16 = 5300;

/// Text that must never be printed. `Debug` and `Display` show a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that signs or sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// How a process proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A named key: we sign our own tokens and renew them at will.
    Key { name: String, key: Secret },
    /// A token somebody else signed: it works until it expires.
    Signature(Secret),
}

/// A parsed Service Bus connection string.
///
/// - `host` is not empty and holds no port, user or path.
/// - There is exactly one credential: a key with its name, or a ready-made signature.
/// - The secret is reachable through [`ConnectionString::expose_secret`] only.
///
/// ```
/// use raft_azure::connection_string::ConnectionString;
///
/// let text = "Endpoint=sb://raft.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0=";
/// let connection_string: ConnectionString = text.parse()?;
/// assert_eq!(connection_string.host(), "raft.servicebus.windows.net");
/// assert!(!format!("{connection_string:?} {connection_string}").contains("c2VjcmV0"));
/// # Ok::<(), raft_azure::connection_string::ConnectionStringError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString {
    text: Secret,
    host: String,
    port: Option<u16>,
    management_port: Option<u16>,
    entity_path: Option<String>,
    use_development_emulator: bool,
    credential: Credential,
}

/// Why a connection string was refused. No variant carries text from the value of a field, because
/// a misplaced `;` or `=` puts the key where nobody expects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionStringError {
    /// Nothing but white space.
    #[error("the connection string is empty")]
    Empty,
    /// A part between two `;` has no `=`; parts are counted from 1.
    #[error("part {position} of the connection string is not of the form Name=Value")]
    NotAPair {
        /// Which part, counted from 1.
        position: usize,
    },
    /// A field stands there twice.
    #[error("the connection string has {field} more than once")]
    Duplicate {
        /// The field's name.
        field: &'static str,
    },
    /// A field is missing or its value is empty.
    #[error("the connection string has no {field}")]
    Missing {
        /// The field's name.
        field: &'static str,
    },
    /// The endpoint is not `sb://HOST[:PORT]/`.
    #[error("the Endpoint of the connection string {problem}")]
    InvalidEndpoint {
        /// What is wrong, as the end of a sentence.
        problem: &'static str,
    },
    /// Both a key and a ready-made signature: it is not clear which to use.
    #[error("the connection string has both SharedAccessKey and SharedAccessSignature; keep one")]
    TwoCredentials,
    /// The signature does not look like `SharedAccessSignature sr=…&sig=…&se=…`.
    #[error(
        "the SharedAccessSignature of the connection string is not of the form `SharedAccessSignature sr=…&sig=…&se=…&skn=…`"
    )]
    InvalidSignature,
    /// A name holds `=` or white space, as it does when a `;` is missing.
    #[error("{field} in the connection string holds `=` or white space; is a `;` missing?")]
    InvalidName {
        /// The field's name.
        field: &'static str,
    },
    /// `UseDevelopmentEmulator` is neither `true` nor `false`.
    #[error("UseDevelopmentEmulator in the connection string is neither true nor false")]
    InvalidFlag,
}

impl ConnectionString {
    /// Host name or address of the namespace, without port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The topic or queue this connection string is restricted to, if any.
    pub fn entity_path(&self) -> Option<&str> {
        self.entity_path.as_deref()
    }

    /// Whether this names an emulator, which speaks neither TLS nor HTTPS.
    pub fn is_emulator(&self) -> bool {
        self.use_development_emulator
    }

    /// Whether AMQP and management traffic is encrypted: always, except with an emulator.
    pub fn uses_tls(&self) -> bool {
        !self.use_development_emulator
    }

    /// Port of AMQP: the endpoint's if it names one, else 5671 (TLS) or 5672 (emulator).
    pub fn amqp_port(&self) -> u16 {
        self.port.unwrap_or(if self.uses_tls() { AMQPS_PORT } else { AMQP_PORT })
    }

    /// Port of the management API.
    ///
    /// A namespace answers on 443. An emulator whose endpoint names a port answers there (ours
    /// serves AMQP and HTTP on one port), else on 5300 as Microsoft's does.
    pub fn management_port(&self) -> u16 {
        match (self.management_port, self.use_development_emulator) {
            (Some(port), _) => port,
            (None, true) => self.port.unwrap_or(EMULATOR_HTTP_PORT),
            (None, false) => HTTPS_PORT,
        }
    }

    /// The same connection string with another port for the management API.
    #[must_use]
    pub fn with_management_port(mut self, port: u16) -> Self {
        self.management_port = Some(port);
        self
    }

    /// Name of the shared access key, if the credential is a key.
    pub fn key_name(&self) -> Option<&str> {
        match &self.credential {
            Credential::Key { name, .. } => Some(name),
            Credential::Signature(_) => None,
        }
    }

    /// The original text **with its secret**, to hand to a child process by environment.
    /// Never print or log it.
    pub fn expose_secret(&self) -> &str {
        self.text.expose()
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Host as it stands in a URL: an IPv6 address keeps its brackets.
    pub(crate) fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Blots out whatever looks like a key or a signature in a text that may quote a connection string.
///
/// ```
/// use raft_azure::connection_string::redact;
/// assert_eq!(redact("cannot read SharedAccessKey=abc=;X"), "cannot read SharedAccessKey=…;X");
/// ```
#[must_use]
pub fn redact(text: &str) -> String {
    const SECRETS: [&str; 2] = ["sharedaccesskey=", "sharedaccesssignature"];
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // ASCII case changes no length, so places are the same in both.
        let lower = rest.to_ascii_lowercase();
        let found = SECRETS.iter().filter_map(|name| lower.find(name).map(|at| at + name.len()));
        let Some(start) = found.min() else {
            redacted.push_str(rest);
            return redacted;
        };
        let secret = &rest[start..];
        let end = secret.find([';', '\n', '\'', '"']).unwrap_or(secret.len());
        redacted.push_str(&rest[..start]);
        redacted.push('…');
        rest = &secret[end..];
    }
}

impl FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields = Fields::parse(text)?;
        let endpoint = fields.endpoint.ok_or(missing("Endpoint"))?;
        let (host, port) = parse_endpoint(endpoint)?;
        let credential =
            match (fields.shared_access_key_name, fields.shared_access_key, fields.signature) {
                (_, Some(_), Some(_)) => return Err(ConnectionStringError::TwoCredentials),
                (_, None, Some(signature)) => parse_signature(signature)?,
                (Some(name), Some(key), None) => {
                    check_name("SharedAccessKeyName", name)?;
                    Credential::Key { name: name.to_owned(), key: Secret::new(key) }
                }
                (None, Some(_), None) => return Err(missing("SharedAccessKeyName")),
                (_, None, None) => return Err(missing("SharedAccessKey")),
            };
        let use_development_emulator = match fields.use_development_emulator {
            None => false,
            Some(flag) if flag.eq_ignore_ascii_case("true") => true,
            Some(flag) if flag.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err(ConnectionStringError::InvalidFlag),
        };
        if let Some(path) = fields.entity_path {
            check_name("EntityPath", path)?;
        }
        Ok(Self {
            text: Secret::new(text.trim()),
            host,
            port,
            management_port: None,
            entity_path: fields.entity_path.map(|path| path.trim_matches('/').to_owned()),
            use_development_emulator,
            credential,
        })
    }
}

impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint=sb://{}", self.url_host())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match &self.credential {
            Credential::Key { name, key } => {
                write!(f, "/;SharedAccessKeyName={name};SharedAccessKey={key}")?;
            }
            Credential::Signature(signature) => {
                write!(f, "/;SharedAccessSignature={signature}")?;
            }
        }
        if let Some(path) = &self.entity_path {
            write!(f, ";EntityPath={path}")?;
        }
        if self.use_development_emulator {
            f.write_str(";UseDevelopmentEmulator=true")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionString({self})")
    }
}

/// The values as they stand in the text; empty ones count as absent.
#[derive(Default)]
struct Fields<'a> {
    endpoint: Option<&'a str>,
    shared_access_key_name: Option<&'a str>,
    shared_access_key: Option<&'a str>,
    signature: Option<&'a str>,
    entity_path: Option<&'a str>,
    use_development_emulator: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, ConnectionStringError> {
        if text.trim().is_empty() {
            return Err(ConnectionStringError::Empty);
        }
        let mut fields = Self::default();
        for (index, part) in text.split(';').enumerate() {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            // Keys end in `=` themselves, so only the first one separates.
            let Some((name, value)) = part.split_once('=') else {
                return Err(ConnectionStringError::NotAPair { position: index + 1 });
            };
            fields.set(name.trim(), value.trim())?;
        }
        Ok(fields)
    }

    fn set(&mut self, name: &str, value: &'a str) -> Result<(), ConnectionStringError> {
        let known: [(&'static str, &mut Option<&'a str>); 6] = [
            ("Endpoint", &mut self.endpoint),
            ("SharedAccessKeyName", &mut self.shared_access_key_name),
            ("SharedAccessKey", &mut self.shared_access_key),
            ("SharedAccessSignature", &mut self.signature),
            ("EntityPath", &mut self.entity_path),
            ("UseDevelopmentEmulator", &mut self.use_development_emulator),
        ];
        // Names nobody knows are skipped, as the SDKs do: old strings carry TransportType and more.
        for (field, slot) in known {
            if !name.eq_ignore_ascii_case(field) || value.is_empty() {
                continue;
            }
            if slot.replace(value).is_some() {
                return Err(ConnectionStringError::Duplicate { field });
            }
        }
        Ok(())
    }
}

fn missing(field: &'static str) -> ConnectionStringError {
    ConnectionStringError::Missing { field }
}

/// Names are shown to people, so one that swallowed its neighbour, perhaps the key, is refused.
fn check_name(field: &'static str, name: &str) -> Result<(), ConnectionStringError> {
    if name.contains(|c: char| c == '=' || c.is_whitespace()) {
        return Err(ConnectionStringError::InvalidName { field });
    }
    Ok(())
}

/// Splits `sb://HOST[:PORT][/]` into host and port.
fn parse_endpoint(endpoint: &str) -> Result<(String, Option<u16>), ConnectionStringError> {
    let invalid = |problem| ConnectionStringError::InvalidEndpoint { problem };
    let rest = match endpoint.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sb") => rest,
        _ => return Err(invalid("does not start with sb://")),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(invalid("carries a user name; the credential has its own fields"));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) =
                bracketed.split_once(']').ok_or(invalid("has an IPv6 address without `]`"))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(invalid("has brackets around something that is not an IPv6 address"));
            }
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(invalid("has text after the IPv6 address")),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(invalid("has no host"));
    }
    let is_name_character =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(is_name_character) {
        return Err(invalid("has a host with characters that no host name has"));
    }
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err(invalid("has a port that is not a number from 1 to 65535")),
        },
    };
    Ok((host.to_ascii_lowercase(), port))
}

fn parse_signature(signature: &str) -> Result<Credential, ConnectionStringError> {
    let fields = signature
        .strip_prefix("SharedAccessSignature ")
        .ok_or(ConnectionStringError::InvalidSignature)?;
    let has = |name: &str| {
        fields.split('&').any(|field| field.split_once('=').is_some_and(|(key, _)| key == name))
    };
    if ["sr", "sig", "se"].into_iter().all(has) {
        Ok(Credential::Signature(Secret::new(signature)))
    } else {
        Err(ConnectionStringError::InvalidSignature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE=";

    fn parse(text: &str) -> Result<ConnectionString, ConnectionStringError> {
        text.parse()
    }

    #[test]
    fn every_order_case_and_spacing_means_the_same() {
        let texts = [
            format!("Endpoint=sb://ns.example/;SharedAccessKeyName=Root;SharedAccessKey={KEY}"),
            format!("SharedAccessKey={KEY};SharedAccessKeyName=Root;Endpoint=sb://ns.example/;"),
            format!(
                " endpoint = SB://NS.example ; SHAREDACCESSKEYNAME=Root;sharedaccesskey={KEY};;"
            ),
            format!(
                "Endpoint=sb://ns.example/;SharedAccessKeyName=Root;SharedAccessKey={KEY};TransportType=Amqp"
            ),
        ];
        for text in texts {
            let parsed = parse(&text).expect("a valid connection string");
            assert_eq!(parsed.host(), "ns.example", "{text}");
            assert_eq!(parsed.key_name(), Some("Root"), "{text}");
            let Credential::Key { key, .. } = parsed.credential() else { panic!("a key") };
            assert_eq!(key.expose(), KEY, "the `=` at the end belongs to the key");
        }
    }

    #[test]
    fn ports_and_tls_follow_from_endpoint_and_emulator_flag() {
        // (endpoint, emulator, AMQP port, management port, TLS)
        let table = [
            ("sb://ns.servicebus.windows.net/", false, 5671, 443, true),
            ("sb://ns.servicebus.windows.net:5671", false, 5671, 443, true),
            ("sb://localhost", true, 5672, 5300, false),
            ("sb://localhost:40123/", true, 40123, 40123, false),
            ("sb://127.0.0.1:1/", true, 1, 1, false),
            ("sb://[::1]:5673", true, 5673, 5673, false),
        ];
        for (endpoint, emulator, amqp, management, tls) in table {
            let text = format!(
                "Endpoint={endpoint};SharedAccessKeyName=n;SharedAccessKey={KEY};UseDevelopmentEmulator={emulator}"
            );
            let parsed = parse(&text).expect("a valid connection string");
            assert_eq!(parsed.amqp_port(), amqp, "{endpoint}");
            assert_eq!(parsed.management_port(), management, "{endpoint}");
            assert_eq!(parsed.uses_tls(), tls, "{endpoint}");
            assert_eq!(parsed.with_management_port(9).management_port(), 9);
        }
    }

    #[test]
    fn errors_name_what_is_wrong_and_show_no_key() {
        use ConnectionStringError::*;
        let table = [
            (" ; ".to_owned(), Missing { field: "Endpoint" }),
            (String::new(), Empty),
            (format!("Endpoint=sb://h;{}", &KEY[..43]), NotAPair { position: 2 }),
            (format!("SharedAccessKeyName=n;SharedAccessKey={KEY}"), Missing { field: "Endpoint" }),
            ("Endpoint=sb://h;SharedAccessKeyName=n".into(), Missing { field: "SharedAccessKey" }),
            (
                "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=".into(),
                Missing { field: "SharedAccessKey" },
            ),
            (
                format!("Endpoint=sb://h;SharedAccessKey={KEY}"),
                Missing { field: "SharedAccessKeyName" },
            ),
            (
                format!("Endpoint=sb://h;SharedAccessKey={KEY};SharedAccessKey=x"),
                Duplicate { field: "SharedAccessKey" },
            ),
            (
                format!(
                    "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey={KEY};SharedAccessSignature=x"
                ),
                TwoCredentials,
            ),
            (format!("Endpoint=sb://h;SharedAccessSignature={KEY}"), InvalidSignature),
            (
                format!(
                    "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey={KEY};UseDevelopmentEmulator=yes"
                ),
                InvalidFlag,
            ),
        ];
        for (text, expected) in table {
            let error = parse(&text).expect_err("an invalid connection string");
            assert_eq!(error, expected);
            assert!(!error.to_string().contains(&KEY[..20]), "{error}");
        }
        for endpoint in [
            "ns.example",
            "https://ns.example",
            "sb://",
            "sb://:5672",
            "sb://h:0",
            "sb://h:65536",
            "sb://h:x",
            "sb://user:pw@h",
            "sb://a b",
            "sb://[::1",
            "sb://[zz]",
            "sb://[::1]x",
        ] {
            let text = format!("Endpoint={endpoint};SharedAccessKeyName=n;SharedAccessKey={KEY}");
            let error = parse(&text).expect_err(endpoint);
            assert!(matches!(error, InvalidEndpoint { .. }), "{endpoint}: {error}");
        }
    }

    #[test]
    fn a_ready_made_signature_is_accepted() {
        let text = "Endpoint=sb://h/;SharedAccessSignature=SharedAccessSignature sr=sb%3A%2F%2Fh&sig=abc%3D&se=1700000000&skn=n;EntityPath=/rafttopic";
        let parsed = parse(text).expect("a valid connection string");
        assert_eq!(parsed.entity_path(), Some("rafttopic"));
        assert_eq!(parsed.key_name(), None);
        assert!(!format!("{parsed} {parsed:?}").contains("abc"));
        assert_eq!(parsed.expose_secret(), text);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn neither_errors_nor_debug_nor_display_show_the_key(
            key in "[A-Za-z0-9+/]{20,44}={0,2}",
            parts in proptest::sample::subsequence(vec![0_usize, 1, 2, 3, 4], 0..=5),
            flag in "(true|false|maybe|)",
            separator in "(;|=|;;| )",
        ) {
            let all = [
                "Endpoint=sb://localhost:5672/".to_owned(),
                "SharedAccessKeyName=Root".to_owned(),
                format!("SharedAccessKey={key}"),
                format!("UseDevelopmentEmulator={flag}"),
                format!("SharedAccessSignature={key}"),
            ];
            let text = parts.iter().map(|&i| all[i].as_str()).collect::<Vec<_>>().join(&separator);
            let shown = match parse(&text) {
                Ok(parsed) => format!("{parsed} {parsed:?} {parsed:#?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!shown.contains(key.trim_end_matches('=')), "{}", shown);
        }
    }
}
