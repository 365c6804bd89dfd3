//! One key of the configuration: its name, what it may be, and why it exists.
//!
//! The table of keys is the one truth about names, units, ranges, defaults and reasons;
//! errors, `config show`, the shipped files and the documentation are all made from it. A key
//! that is not in the table does not exist, whoever reads it.

use std::fmt;
use std::net::SocketAddr;

use toml::Value;

/// Values that a key may hold.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number, both ends included.
    Int {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// A whole number or the one word.
    IntOr {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
        /// The word that may stand in its place.
        word: &'static str,
    },
    /// A fraction, both ends included.
    Float {
        /// The smallest allowed.
        min: f64,
        /// The largest allowed.
        max: f64,
    },
    /// `true` or `false`.
    Bool,
    /// Text; `empty` says whether "" is a value.
    Text {
        /// Whether "" is allowed.
        empty: bool,
    },
    /// A short name: letters, digits, `-`, `_`, `.`, up to 64.
    Name,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// "auto", "off" or an address to listen on.
    Listen,
    /// HOST:PORT, where the host may be a name; `auto` says whether "auto" will do.
    Address {
        /// Whether "auto" is allowed.
        auto: bool,
    },
    /// A list of texts.
    Texts,
    /// A table of texts.
    TextMap,
}

/// The value a key has when nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fallback {
    /// A whole number.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(&'static str),
    /// An empty list.
    NoTexts,
    /// An empty table.
    NoMap,
    /// The key may be absent.
    Absent,
    /// The key must be given.
    Required,
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Section and name, such as `connections.per_node`.
    pub path: &'static str,
    /// Values that it may hold.
    pub kind: Kind,
    /// Unit of its number, or "".
    pub unit: &'static str,
    /// Its value when not given.
    pub fallback: Fallback,
    /// Its effect, and the reason for its default.
    pub about: &'static str,
}

/// The longest text a key takes, in bytes; a path or a command has no business being longer.
const TEXT_BYTES_MAX: usize = 4096;
const NAME_CHARS_MAX: usize = 64;

impl Key {
    /// A key of any kind.
    #[must_use]
    pub const fn new(path: &'static str, kind: Kind, fallback: Fallback, about: &'static str) -> Self {
        Key { path, kind, unit: "", fallback, about }
    }

    /// A whole number from `min` to `max`, counted in `unit`.
    #[must_use]
    pub const fn int(
        path: &'static str,
        default: i64,
        (min, max): (i64, i64),
        unit: &'static str,
        about: &'static str,
    ) -> Self {
        let fallback = Fallback::Int(default);
        Key { path, kind: Kind::Int { min, max }, unit, fallback, about }
    }

    /// The same key without a default.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.fallback = Fallback::Required;
        self
    }

    /// The section: `cluster.nodes` for `cluster.nodes.id`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The name inside the section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The variable that sets it: `ERLMCP_` and the path in capitals.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("ERLMCP_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// The default as a TOML value; none if the key may be absent or must be given.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        Some(match self.fallback {
            Fallback::Int(n) => Value::Integer(n),
            Fallback::Float(n) => Value::Float(n),
            Fallback::Bool(b) => Value::Boolean(b),
            Fallback::Text(text) => Value::String(text.to_string()),
            Fallback::NoTexts => Value::Array(Vec::new()),
            Fallback::NoMap => Value::Table(toml::Table::new()),
            Fallback::Absent | Fallback::Required => return None,
        })
    }

    /// Reads the text of a variable or flag as the kind of this key. What does not fit stays text, so
    /// that [`Key::check`] can name it.
    #[must_use]
    pub fn parse(&self, text: &str) -> Value {
        let as_text = || Value::String(text.to_string());
        match self.kind {
            Kind::Int { .. } | Kind::IntOr { .. } => text.parse().map_or_else(|_| as_text(), Value::Integer),
            Kind::Float { .. } => text.parse().map_or_else(|_| as_text(), Value::Float),
            Kind::Bool => text.parse().map_or_else(|_| as_text(), Value::Boolean),
            Kind::Texts => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_string())).collect())
            }
            _ => as_text(),
        }
    }

    /// Whether `value` is allowed.
    ///
    /// # Errors
    /// The values allowed, as the end of the sentence "it must be ...".
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match (self.kind, value) {
            (Kind::Int { min, max } | Kind::IntOr { min, max, .. }, Value::Integer(n)) => {
                if (min..=max).contains(n) {
                    return Ok(());
                }
                return Err(match self.kind {
                    Kind::Int { .. } => format!("between {min} and {max}"),
                    _ => self.kind.to_string(),
                });
            }
            (Kind::IntOr { word, .. }, Value::String(text)) => text == word,
            (Kind::Float { min, max }, Value::Float(n)) => (min..=max).contains(n),
            (Kind::Float { min, max }, Value::Integer(n)) => {
                i32::try_from(*n).is_ok_and(|n| (min..=max).contains(&f64::from(n)))
            }
            (Kind::Bool, Value::Boolean(_)) => true,
            (Kind::Text { empty }, Value::String(text)) => is_text(text) && (empty || !text.is_empty()),
            (Kind::Name, Value::String(text)) => is_name(text),
            (Kind::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
            (Kind::Listen, Value::String(text)) => {
                text == "auto" || text == "off" || text.parse::<SocketAddr>().is_ok()
            }
            (Kind::Address { auto }, Value::String(text)) => auto && text == "auto" || is_host_and_port(text),
            (Kind::Texts, Value::Array(parts)) => parts.iter().all(|part| part.as_str().is_some_and(is_text)),
            (Kind::TextMap, Value::Table(map)) => map.values().all(|part| part.as_str().is_some_and(is_text)),
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.kind.to_string()) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Int { min, max } => write!(f, "a whole number between {min} and {max}"),
            Kind::IntOr { min, max, word } => {
                write!(f, "a whole number between {min} and {max}, or \"{word}\"")
            }
            Kind::Float { min, max } => write!(f, "a number between {min} and {max}"),
            Kind::Bool => write!(f, "true or false"),
            Kind::Text { empty: true } => write!(f, "text of at most {TEXT_BYTES_MAX} bytes"),
            Kind::Text { empty: false } => write!(f, "text of 1 to {TEXT_BYTES_MAX} bytes"),
            Kind::Name => write!(f, "1 to {NAME_CHARS_MAX} letters, digits, '-', '_' or '.'"),
            Kind::OneOf(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Kind::Listen => write!(f, "\"auto\", \"off\" or an address such as \"127.0.0.1:8080\""),
            Kind::Address { auto: true } => write!(f, "\"auto\" or HOST:PORT such as \"10.0.0.7:9200\""),
            Kind::Address { auto: false } => write!(f, "HOST:PORT such as \"10.0.0.7:9200\""),
            Kind::Texts => write!(f, "a list of texts"),
            Kind::TextMap => write!(f, "a table of texts"),
        }
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(allowed)
}

/// HOST:PORT with a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host_and_port(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=253).contains(&host.len()) && host.chars().all(allowed) && port.parse::<u16>().is_ok_and(|p| p != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_NODE: Key = Key::int("connections.per_node", 25_000, (1, 1_000_000), "connections", "");

    #[test]
    fn a_number_is_allowed_at_both_ends_and_refused_one_beyond() {
        for (n, is_fine) in [(0, false), (1, true), (1_000_000, true), (1_000_001, false)] {
            assert_eq!(PER_NODE.check(&Value::Integer(n)).is_ok(), is_fine, "{n}");
        }
        assert_eq!(PER_NODE.check(&Value::Integer(0)), Err("between 1 and 1000000".to_string()));
    }

    #[test]
    fn a_text_where_a_number_belongs_is_told_so() {
        let wanted = PER_NODE.check(&PER_NODE.parse("many"));
        assert_eq!(wanted, Err("a whole number between 1 and 1000000".to_string()));
    }

    #[test]
    fn a_lease_may_be_a_number_or_never() {
        let kind = Kind::IntOr { min: 3000, max: 9000, word: "never" };
        let key = Key::new("quota.lease_ms", kind, Fallback::Int(3000), "");
        assert!(key.check(&key.parse("never")).is_ok());
        assert!(key.check(&key.parse("3000")).is_ok());
        assert!(key.check(&key.parse("2999")).is_err());
        assert!(key.check(&key.parse("always")).is_err());
    }

    #[test]
    fn addresses_to_listen_on_are_numbers_and_those_to_reach_may_be_names() {
        let listen = Key::new("http.listen", Kind::Listen, Fallback::Text("auto"), "");
        let reach = Key::new("peer.advertise", Kind::Address { auto: true }, Fallback::Text("auto"), "");
        for (text, can_listen, can_reach) in [
            ("auto", true, true),
            ("off", true, false),
            ("127.0.0.1:80", true, true),
            ("[::1]:80", true, true),
            ("node-1:9200", false, true),
            ("node-1", false, false),
            ("node-1:0", false, false),
            ("no de:9200", false, false),
            (":9200", false, false),
        ] {
            assert_eq!(listen.check(&listen.parse(text)).is_ok(), can_listen, "listen {text}");
            assert_eq!(reach.check(&reach.parse(text)).is_ok(), can_reach, "reach {text}");
        }
    }

    #[test]
    fn a_list_from_a_variable_is_split_at_commas() {
        let key = Key::new("http.allowed_hosts", Kind::Texts, Fallback::NoTexts, "");
        assert_eq!(key.parse("a, b,,c").as_array().map(Vec::len), Some(3));
    }
}
