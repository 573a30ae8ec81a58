//! A sentence with places to be filled: `{member}: no handshake`.

/// Text around places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// One more than there are places.
    fixed: Vec<String>,
    places: Vec<Place>,
}

/// Where something is filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub name: String,
    pub takes: Takes,
}

/// What may stand in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// `{detail}`: anything.
    Anything,
    /// `{=path}`: one word, which stays as it is.
    Word,
    /// `{*state}`: what can be translated.
    Sentence,
}

impl Template {
    /// Braces around anything but a name are text, as in `a `${` that is no variable`.
    pub fn parse(text: &str) -> Template {
        let (mut fixed, mut places) = (vec![String::new()], Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            fixed.last_mut().expect("never empty").push_str(before);
            match place(from) {
                Some((place, behind)) => {
                    places.push(place);
                    fixed.push(String::new());
                    rest = behind;
                }
                None => {
                    fixed.last_mut().expect("never empty").push('{');
                    rest = &from[1..];
                }
            }
        }
        fixed.last_mut().expect("never empty").push_str(rest);
        Template { fixed, places }
    }

    /// The text around the places.
    pub fn fixed(&self) -> &[String] {
        &self.fixed
    }

    /// The places, in their order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// How much of it is text: the more, the surer is a match.
    pub fn weight(&self) -> usize {
        self.fixed.iter().map(String::len).sum()
    }

    /// What stands in the places of a text, each as short as can be but the last; nothing where the text doesn't fit. One
    /// pass without a way back, so a long text costs no more than its length.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let (first, others) = self.fixed.split_first()?;
        let (last, between) = others.split_last()?;
        let mut rest = text.strip_prefix(first.as_str())?.strip_suffix(last.as_str())?;
        let mut captured = Vec::with_capacity(self.places.len());
        for fixed in between {
            // A place is never empty.
            let least = rest.chars().next()?.len_utf8();
            let at = least + rest[least..].find(fixed.as_str())?;
            captured.push(&rest[..at]);
            rest = &rest[at + fixed.len()..];
        }
        captured.push(rest);
        (!rest.is_empty()).then_some(captured)
    }

    /// What the text begins with, if that is a place.
    pub fn first(&self) -> Option<&str> {
        self.places.first().filter(|_| self.fixed[0].is_empty()).map(|place| place.name.as_str())
    }

    /// What the text ends with, if that is a place.
    pub fn last(&self) -> Option<&str> {
        self.places.last().filter(|_| self.fixed[self.places.len()].is_empty()).map(|place| place.name.as_str())
    }

    /// The text with its places filled, by name.
    pub fn fill<'t>(&self, value: impl Fn(&str) -> &'t str) -> String {
        let mut text = self.fixed[0].clone();
        for (place, fixed) in self.places.iter().zip(&self.fixed[1..]) {
            text.push_str(value(&place.name));
            text.push_str(fixed);
        }
        text
    }
}

/// The place that a text begins with, and what is behind it.
fn place(text: &str) -> Option<(Place, &str)> {
    let (inside, behind) = text.strip_prefix('{')?.split_once('}')?;
    let (takes, name) = match (inside.strip_prefix('='), inside.strip_prefix('*')) {
        (Some(name), _) => (Takes::Word, name),
        (_, Some(name)) => (Takes::Sentence, name),
        _ => (Takes::Anything, inside),
    };
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then(|| (Place { name: name.to_owned(), takes }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_places_is_found() {
        let template = Template::parse("{member}: no handshake at {endpoint}");
        assert_eq!(template.captures("10.8.3.2: no handshake at 192.0.2.2"), Some(vec!["10.8.3.2", "192.0.2.2"]));
        assert_eq!(template.captures(": no handshake at 192.0.2.2"), None, "a place is never empty");
        assert_eq!(template.captures("10.8.3.2: no handshake at "), None);
        assert_eq!(template.captures("no handshake"), None);
    }

    #[test]
    fn braces_around_no_name_are_text() {
        let template = Template::parse("a `${` in {file}, {}");
        assert_eq!(template.fixed(), ["a `${` in ", ", {}"]);
        assert_eq!(template.captures("a `${` in .env, {}"), Some(vec![".env"]));
    }

    #[test]
    fn places_are_filled_by_name_in_any_order() {
        let template = Template::parse("{two}, {one}, {one}");
        assert_eq!(template.fill(|name| if name == "one" { "1" } else { "2" }), "2, 1, 1");
    }
}
