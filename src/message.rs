//! What is said to people, as a value: an English sentence with places, and what stands in them.
//!
//! The sentence is the key that a catalogue knows its translation by (see [`crate::lang`]); `Display` is the English. What
//! others say (apt, ssh, another host) is only ever an argument, so it is never translated and never taken for ours, and it
//! loses its control characters where it enters. Nothing is parsed back out of a rendered message.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The sentence of foreign text: it consists of that text alone.
const FOREIGN: &str = "{text}";

/// A sentence with its arguments. Made by [`message!`](crate::message!) and [`counted!`](crate::counted!).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// With places, as in `{member}: no handshake`. The plural, where there is a singular.
    english: Cow<'static, str>,
    /// For a first argument of 1.
    singular: Option<Cow<'static, str>>,
    arguments: Vec<(Cow<'static, str>, Argument)>,
}

/// Bytes that a message may have which another program sends, once it is put together.
const MAX_LENGTH: usize = 64 << 10;

/// What stands in one place of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Argument {
    /// Names, paths, commands, foreign text: the same in every language.
    Text(#[serde(deserialize_with = "printable_text")] String),
    /// A number; the first one of a message decides on its plural.
    Count(u64),
    /// A sentence within a sentence.
    Message(Message),
    /// Several of them, with this between any two.
    Messages(Vec<Message>, #[serde(deserialize_with = "printable_text")] String),
}

/// Makes a [`Message`]: `message!("{member}: no handshake")` takes `member` from the scope,
/// `message!("{member}: no handshake", member = peer.address)` an expression. The places are checked at compile time.
#[macro_export]
macro_rules! message {
    ($english:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        const _: () = assert!(
            $crate::message::places_match($english, &[$(stringify!($name)),*]),
            "the places of the sentence and its arguments differ"
        );
        $crate::message::Message::new($english, None, vec![$((
            stringify!($name),
            $crate::message::Argument::from($crate::message!(@value $name $(= $value)?)),
        )),*])
    }};
    (@value $name:ident = $value:expr) => { $value };
    (@value $name:ident) => { $name };
}

/// A [`Message`] with a singular: `counted!("{count} file" | "{count} files", count = n)`. The first argument is the number.
#[macro_export]
macro_rules! counted {
    ($singular:literal | $plural:literal, $count:ident = $number:expr $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        const _: () = assert!(
            $crate::message::places_match($plural, &[stringify!($count) $(, stringify!($name))*]),
            "the places of the sentence and its arguments differ"
        );
        $crate::message::Message::new($plural, Some($singular), vec![
            (stringify!($count), $crate::message::Argument::Count($number as u64)),
            $((
                stringify!($name),
                $crate::message::Argument::from($crate::message!(@value $name $(= $value)?)),
            )),*
        ])
    }};
}

impl Message {
    /// What the macros make.
    pub fn new(
        english: &'static str,
        singular: Option<&'static str>,
        arguments: Vec<(&'static str, Argument)>,
    ) -> Message {
        Message {
            english: english.into(),
            singular: singular.map(Cow::from),
            arguments: arguments.into_iter().map(|(name, argument)| (name.into(), argument)).collect(),
        }
    }

    /// A sentence without places, in a `const`.
    pub const fn fixed(english: &'static str) -> Message {
        Message { english: Cow::Borrowed(english), singular: None, arguments: Vec::new() }
    }

    /// What somebody else says, as it is but for its control characters.
    pub fn foreign(text: impl fmt::Display) -> Message {
        Message::new(FOREIGN, None, vec![("text", Argument::Text(printable(&text.to_string())))])
    }

    /// A line to type, the same in every language.
    pub fn command(line: impl fmt::Display) -> Message {
        Message::foreign(line)
    }

    /// Several sentences as one, with `between` between any two.
    pub fn joined(messages: Vec<Message>, between: &str) -> Message {
        Message::new(FOREIGN, None, vec![("text", Argument::Messages(messages, between.to_owned()))])
    }

    /// The same with `; ` where several sentences have a line each.
    pub(crate) fn on_one_line(&self) -> Message {
        let arguments = self.arguments.iter().map(|(name, argument)| (name.clone(), argument.on_one_line()));
        Message { arguments: arguments.collect(), ..self.clone() }
    }

    /// What a catalogue knows it by.
    pub(crate) fn key(&self) -> &str {
        &self.english
    }

    /// The text, if it is somebody else's.
    pub(crate) fn as_foreign(&self) -> Option<&str> {
        match self.arguments.as_slice() {
            [(_, Argument::Text(text))] if self.english == FOREIGN => Some(text),
            _ => None,
        }
    }

    /// The number that decides on the plural.
    pub(crate) fn count(&self) -> Option<u64> {
        match (&self.singular, self.arguments.first()) {
            (Some(_), Some((_, Argument::Count(number)))) => Some(*number),
            _ => None,
        }
    }

    /// In the words of `sentence`, which gives the sentence with places for this message and each within it.
    pub(crate) fn render<'m>(&'m self, sentence: &impl Fn(&'m Message) -> &'m str) -> String {
        let mut out = String::new();
        let mut rest = sentence(self);
        while let Some((before, name, behind)) = next_place(rest) {
            out.push_str(before);
            match self.arguments.iter().find(|(known, _)| known == name) {
                Some((_, argument)) => out.push_str(&argument.render(sentence)),
                None => drop(fmt::Write::write_fmt(&mut out, format_args!("{{{name}}}"))),
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Bytes that it has, at most: a sentence may have a place many times, and arguments have places themselves, so that a
    /// short one can become endless.
    pub(crate) fn length(&self) -> usize {
        let of = |sentence: &str| {
            let (mut length, mut rest) = (sentence.len(), sentence);
            while let Some((_, name, behind)) = next_place(rest) {
                let argument = self.arguments.iter().find(|(known, _)| known == name);
                length = length.saturating_add(argument.map_or(0, |(_, argument)| argument.length()));
                if length > MAX_LENGTH {
                    break;
                }
                rest = behind;
            }
            length
        };
        of(&self.english).max(self.singular.as_deref().map_or(0, of))
    }

    /// The English sentence with places.
    pub(crate) fn english(&self) -> &str {
        match (&self.singular, self.count()) {
            (Some(singular), Some(1)) => singular,
            _ => &self.english,
        }
    }
}

impl Argument {
    fn length(&self) -> usize {
        match self {
            Argument::Text(text) => text.len(),
            Argument::Count(_) => 20,
            Argument::Message(message) => message.length(),
            Argument::Messages(messages, between) => {
                messages.iter().fold(0, |sum: usize, message| sum.saturating_add(message.length() + between.len()))
            }
        }
    }

    fn on_one_line(&self) -> Argument {
        match self {
            Argument::Text(text) => Argument::Text(text.replace('\n', "; ")),
            Argument::Count(number) => Argument::Count(*number),
            Argument::Message(message) => Argument::Message(message.on_one_line()),
            Argument::Messages(messages, between) => {
                let between = if between.contains('\n') { "; " } else { between.as_str() };
                Argument::Messages(messages.iter().map(Message::on_one_line).collect(), between.to_owned())
            }
        }
    }

    fn render<'m>(&'m self, sentence: &impl Fn(&'m Message) -> &'m str) -> String {
        match self {
            Argument::Text(text) => text.clone(),
            Argument::Count(number) => number.to_string(),
            Argument::Message(message) => message.render(sentence),
            Argument::Messages(messages, between) => {
                messages.iter().map(|message| message.render(sentence)).collect::<Vec<_>>().join(between)
            }
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.render(&Message::english))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl From<Message> for Argument {
    fn from(message: Message) -> Self {
        Argument::Message(message)
    }
}

impl From<&Message> for Argument {
    fn from(message: &Message) -> Self {
        Argument::Message(message.clone())
    }
}

/// Sentences with `; ` between them.
impl From<Vec<Message>> for Argument {
    fn from(messages: Vec<Message>) -> Self {
        Argument::Messages(messages, "; ".to_owned())
    }
}

macro_rules! text_from {
    ($($kind:ty),* $(,)?) => {$(
        impl From<$kind> for Argument {
            fn from(text: $kind) -> Self {
                Argument::Text(printable(&text.to_string()))
            }
        }
    )*};
}

text_from!(&str, String, &String, Cow<'_, str>, char, i64, i32, f64, std::io::Error, &std::io::Error);
text_from!(std::net::Ipv4Addr, std::net::IpAddr, std::net::SocketAddr, &std::net::Ipv4Addr, &std::net::SocketAddr);
text_from!(std::path::Display<'_>);

macro_rules! count_from {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Argument {
            fn from(number: $kind) -> Self {
                Argument::Count(number as u64)
            }
        }
    )*};
}

count_from!(u8, u16, u32, u64, usize);

/// Text without what a terminal would obey: control characters (line ends and tabs stay) and those that change the direction
/// of the text around them.
pub fn printable(text: &str) -> String {
    let obeyed = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || turns_text(c);
    text.replace(obeyed, "\u{fffd}")
}

/// Whether a character changes the direction of the text around it.
pub(crate) fn turns_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

/// For strings that come from elsewhere and aren't messages.
pub(crate) fn printable_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| printable(&text))
}

/// The next `{name}`: what is before it, the name, and what is behind it. Braces around anything else are text.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find('{') {
        let open = from + at;
        if let Some((name, behind)) = text[open + 1..].split_once('}')
            && !name.is_empty()
            && name.bytes().all(is_of_a_name)
        {
            return Some((&text[..open], name, behind));
        }
        from = open + 1;
    }
    None
}

const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Whether a sentence has a place for each of these names, and for no other.
#[doc(hidden)]
pub const fn places_match(sentence: &str, names: &[&str]) -> bool {
    let text = sentence.as_bytes();
    let mut known = 0_u64;
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'{' {
            let mut end = at + 1;
            while end < text.len() && is_of_a_name(text[end]) {
                end += 1;
            }
            if end < text.len() && text[end] == b'}' && end > at + 1 {
                let mut number = 0;
                while number < names.len() && !is_slice(names[number].as_bytes(), text, at + 1, end) {
                    number += 1;
                }
                if number == names.len() {
                    return false;
                }
                known |= 1 << number;
                at = end;
            }
        }
        at += 1;
    }
    known.count_ones() as usize == names.len()
}

const fn is_slice(name: &[u8], text: &[u8], from: usize, to: usize) -> bool {
    if name.len() != to - from {
        return false;
    }
    let mut at = 0;
    while at < name.len() {
        if name[at] != text[from + at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Between two programs it travels whole, so that the reader's own language is found where the reader is. Foreign text is a
/// plain string.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire<'m> {
    Foreign(Cow<'m, str>),
    Sentence {
        english: Cow<'m, str>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        singular: Option<Cow<'m, str>>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        arguments: Vec<(Cow<'m, str>, Argument)>,
    },
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_foreign() {
            Some(text) => Wire::Foreign(text.into()),
            None => Wire::Sentence {
                english: self.english.as_ref().into(),
                singular: self.singular.as_deref().map(Cow::from),
                arguments: self.arguments.iter().map(|(name, arg)| (name.as_ref().into(), arg.clone())).collect(),
            },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let message = match Wire::deserialize(deserializer)? {
            Wire::Foreign(text) => Message::foreign(text),
            Wire::Sentence { english, singular, arguments } => Message {
                english: printable(&english).into(),
                singular: singular.map(|singular| printable(&singular).into()),
                arguments: arguments.into_iter().map(|(name, arg)| (printable(&name).into(), arg)).collect(),
            },
        };
        // The messages within it were measured when they were read.
        if message.length() > MAX_LENGTH {
            return Err(serde::de::Error::custom("a message of more than 64 KiB"));
        }
        Ok(message)
    }
}

/// A word of a shell command: as it is, or in quotes where the shell would read it otherwise.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_the_english() {
        let member = "10.8.3.2";
        assert_eq!(message!("{member}: no handshake", member).to_string(), "10.8.3.2: no handshake");
        assert_eq!(message!("a `${` that is no variable").to_string(), "a `${` that is no variable");
        let inner = message!("port {port} is taken", port = 4567_u16);
        assert_eq!(message!("{host}: {reason}", host = "h1", reason = inner).to_string(), "h1: port 4567 is taken");
    }

    #[test]
    fn english_has_a_singular() {
        let files = |n: usize| counted!("{count} file of {dir}" | "{count} files of {dir}", count = n, dir = "/x");
        assert_eq!(files(1).to_string(), "1 file of /x");
        assert_eq!(files(0).to_string(), "0 files of /x");
    }

    #[test]
    fn an_argument_is_never_taken_for_a_place() {
        assert_eq!(message!("{a} {b}", a = "{b}", b = "{a}").to_string(), "{b} {a}");
    }

    #[test]
    fn sentences_of_a_line_each_can_be_put_on_one_line() {
        let lines = Message::joined(vec![message!("x"), Message::foreign("y\nz")], "\n");
        assert_eq!(message!("{a}: {b}", a = lines, b = "w").on_one_line().to_string(), "x; y; z: w");
    }

    #[test]
    fn places_and_arguments_are_compared_at_compile_time() {
        assert!(places_match("{a} and {b_2}, {a}", &["a", "b_2"]));
        assert!(!places_match("{a}", &["a", "b"]) && !places_match("{a} {b}", &["a"]));
        assert!(places_match("${X} {} {Y", &[]));
    }

    #[test]
    fn control_and_direction_characters_of_others_are_replaced() {
        let hostile = "\u{1b}]52;c;x\u{7}two\nlines \u{202e}evil";
        assert_eq!(Message::foreign(hostile).to_string(), "\u{fffd}]52;c;x\u{fffd}two\nlines \u{fffd}evil");
        let said: Message =
            serde_json::from_str(r#"{"english":"\u001b[2J{x}","arguments":[["x",{"text":"\u001b"}]]}"#).unwrap();
        assert_eq!(said.to_string(), "\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn a_short_message_that_becomes_an_endless_one_is_refused() {
        let mut text = "\"x\"".to_owned();
        for _ in 0..20 {
            let places = "{x}".repeat(9);
            text = format!(r#"{{"english":"{places}","arguments":[["x",{{"message":{text}}}]]}}"#);
        }
        assert!(serde_json::from_str::<Message>(&text).is_err());
    }

    #[test]
    fn messages_within_messages_take_no_more_stack_than_a_thread_of_a_run_has() {
        let mut text = "\"x\"".to_owned();
        for _ in 0..200 {
            text = format!(r#"{{"english":"{{x}}","arguments":[["x",{{"message":{text}}}]]}}"#);
        }
        let read = move || serde_json::from_str::<Message>(&text).is_err();
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(read).unwrap();
        assert!(thread.join().unwrap(), "nested deeper than any real one");
    }

    #[test]
    fn a_message_travels_whole() {
        let inner = counted!("{n} file" | "{n} files", n = 1_usize);
        for message in [Message::foreign("no such host"), message!("{host}: {reason}", host = "h", reason = inner)] {
            let wire = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&wire).unwrap(), message, "{wire}");
        }
        assert_eq!(serde_json::to_string(&Message::foreign("x")).unwrap(), "\"x\"");
    }
}
